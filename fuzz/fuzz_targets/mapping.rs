//! Any text is a mapping file or an error, and whatever it says can be asked for any name.
//!
//! The first line of the input is the name, the rest the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::compat::Compat;
use tallyd::map::Rules;
use tallyd::sample::EventType;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (name, text) = input.split_at(end);
    let name = String::from_utf8_lossy(name);
    for compat in [Compat::Reference, Compat::Extended] {
        if let Ok(loaded) = Rules::parse(text, "mapping.yml".as_ref(), compat) {
            for event in EventType::ALL {
                if let Some(found) = loaded.rules.find(&name, event) {
                    assert!(found.index < loaded.rules.len());
                }
            }
            loaded.rules.dump_fsm(&mut std::io::sink()).expect("a sink takes everything");
        }
    }
});
