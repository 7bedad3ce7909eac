//! What the documentation lists is all there is.

use std::fs;
use std::path::Path;

use tallyd::expose::own;
use tallyd::map::preset;

#[test]
fn every_metric_of_ours_is_documented() {
    let page = page("docs/metrics.md");
    let missing = own::NAMES.iter().filter(|name| !page.contains(&format!("`{name}`")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "not in docs/metrics.md");
    let cells = page.lines().filter(|line| line.starts_with("| `"));
    let first = cells.filter_map(|line| line.split(" | ").next());
    for name in first.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        assert!(own::NAMES.contains(&name), "docs/metrics.md: there is no {name}");
    }
}

#[test]
fn every_preset_is_documented_with_what_it_is_made_for() {
    let page = page("docs/presets.md");
    for preset in preset::all() {
        let head = preset.text().lines().next().unwrap().trim_start_matches("# Made for: ");
        let made_for = head.split([',', ';']).next().unwrap().trim_end_matches('.');
        let row = format!("| `{}` | {made_for} |", preset.name());
        assert!(page.contains(&row), "docs/presets.md lacks {row}");
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
