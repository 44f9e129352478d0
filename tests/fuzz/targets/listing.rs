//! What mirrors say of themselves: `.treeinfo`, checksum files, versions.
#![no_main]

use imgbuild::source::{TreeInfo, compare_versions, parse_checksums};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for arch in ["x86_64", "aarch64"] {
        if let Ok(tree) = TreeInfo::parse(text, arch) {
            tree.title();
        }
    }
    parse_checksums(text);
    let mut words = text.split_whitespace();
    if let (Some(a), Some(b)) = (words.next(), words.next()) {
        assert_eq!(compare_versions(a, b), compare_versions(b, a).reverse());
    }
});
