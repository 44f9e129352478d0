//! Frames between a guest and its network, from a hostile guest or server.
#![no_main]

use imgbuild::platform::qemu::traffic::Observer;
use libfuzzer_sys::fuzz_target;
use tokio::sync::mpsc;

fuzz_target!(|frames: Vec<(bool, &[u8])>| {
    let (sender, _seen) = mpsc::channel(4);
    let mut observer = Observer::new(sender);
    for (is_sent, frame) in frames {
        if is_sent {
            observer.guest_sent(frame);
        } else {
            observer.guest_received(frame);
        }
    }
    observer.unanswered();
});
