//! Templates, filters, masked secrets. Pure.
