//! How fast a console is classified, beside merely counting its lines.
//!
//! `cargo bench --bench console`

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use imgbuild::console::{examine::Examiner, knowledge::Knowledge};

const SIZE: usize = 32 << 20;

/// Consoles as they are and as they are at worst.
fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let real = fs_err::read("tests/consoles/debian-13-text-success.log").unwrap();
    let packages: Vec<u8> = (0..5000)
        .flat_map(|it| {
            let name = format!("libsomething-{it}-dev");
            format!("Selecting previously unselected package {name}.\r\nUnpacking {name} (1.{it}) ...\r\nSetting up {name} (1.{it}) ...\r\n")
                .into_bytes()
        })
        .collect();
    let colours: Vec<u8> = (0..5000)
        .flat_map(|it| format!("[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39munit-{it}.service\x1b[0m - Unit {it}.\r\n").into_bytes())
        .collect();
    let fill = |it: &[u8]| it.iter().copied().cycle().take(SIZE).collect();
    vec![
        ("install", fill(&real)),
        ("packages", fill(&packages)),
        ("colours", fill(&colours)),
        ("no-newline", vec![b'x'; SIZE]),
    ]
}

fn classify(c: &mut Criterion) {
    let knowledge = Arc::new(Knowledge::builtin().unwrap());
    for (name, stream) in streams() {
        let mut group = c.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Bytes(SIZE as u64));
        group.bench_function("count-lines", |b| {
            b.iter(|| memchr::memchr_iter(b'\n', black_box(&stream)).count());
        });
        group.bench_function("classify", |b| {
            b.iter(|| {
                let mut examiner = Examiner::new(Arc::clone(&knowledge));
                let mut n_hits = 0_usize;
                for piece in black_box(&stream).chunks(1 << 16) {
                    examiner.feed(piece, &mut |_| n_hits += 1);
                }
                n_hits
            });
        });
        group.finish();
    }
    c.bench_function("knowledge", |b| b.iter(|| Knowledge::builtin().unwrap()));
}

criterion_group!(benches, classify);
criterion_main!(benches);
