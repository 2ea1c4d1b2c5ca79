#![no_main]

mod play;

libfuzzer_sys::fuzz_target!(|data: &[u8]| play::play(trilobite_protocols::Name::Grpc, data));
