//! What `imgbuild validate` spends on specs, without reading them.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/spec_common/mod.rs"]
mod spec_common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use imgbuild::spec::{Mode, variables::Inputs};
use spec_common::check;

const FULL: [(&str, &str); 2] = [
    ("full.toml", include_str!("../tests/good_specs/full.toml")),
    ("full.yaml", include_str!("../tests/good_specs/full.yaml")),
];

fn validate(criterion: &mut Criterion) {
    let inputs = Inputs::default();
    for (name, text) in FULL {
        criterion.bench_function(&format!("validate {name}"), |bench| {
            bench.iter(|| check(name, black_box(text), &inputs, Mode::Validate).unwrap());
        });
    }
    criterion.bench_function("validate 1,000 specs", |bench| {
        bench.iter(|| {
            for i in 0..1_000 {
                let (name, text) = FULL[i % FULL.len()];
                black_box(check(name, black_box(text), &inputs, Mode::Validate).unwrap());
            }
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = validate
}
criterion_main!(benches);
