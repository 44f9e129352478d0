//! Where installers come from: trees, ISOs, packages, plain files; and the cache.
