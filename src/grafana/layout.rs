//! Rows to places on Grafana's grid, and ids that last.

use std::collections::BTreeSet;

use super::model::{GridPos, Item, PanelJson, RowJson};
use super::names::checksum;
use super::panel::{COLUMNS, Panel, Row, Size};
use super::render::render;

/// The next free place, from left to right and from top to bottom.
#[derive(Debug, Default)]
struct Cursor {
    x: u32,
    y: u32,
    /// How high the line is that is being filled.
    height: u32,
}

impl Cursor {
    fn place(&mut self, size: Size) -> GridPos {
        let (width, height) = (size.width.clamp(1, COLUMNS), size.height.max(1));
        if self.x + width > COLUMNS || (size.is_first && self.x > 0) {
            self.end_line();
        }
        let place = GridPos { h: height, w: width, x: self.x, y: self.y };
        self.x += width;
        self.height = self.height.max(height);
        place
    }

    fn end_line(&mut self) {
        self.y += self.height;
        self.x = 0;
        self.height = 0;
    }
}

/// Ids made of keys: a panel keeps its own whatever comes and goes around it.
#[derive(Debug, Default)]
struct Ids(BTreeSet<u32>);

impl Ids {
    fn of(&mut self, key: &str) -> u32 {
        // Grafana's ids are positive and have 31 bits.
        let mut id = (checksum(&[key]) >> 1).max(1);
        while !self.0.insert(id) {
            id = (id % (u32::MAX >> 1)) + 1;
        }
        id
    }
}

/// Lays rows out one below the other; rows without panels are left out.
pub(super) fn lay_out(rows: Vec<Row>, interval: Option<&str>) -> Vec<Item> {
    let (mut cursor, mut ids, mut items) = (Cursor::default(), Ids::default(), Vec::new());
    for row in rows.into_iter().filter(|row| !row.panels.is_empty()) {
        cursor.end_line();
        let key = format!("row:{}", row.title);
        let id = ids.of(&key);
        let line = Size { width: COLUMNS, height: 1, is_first: true };
        let grid_pos = cursor.place(line);
        cursor.end_line();
        let below = cursor.y;
        let mut place = |panel: Panel| -> PanelJson {
            let id = ids.of(&panel.key);
            let grid_pos = cursor.place(panel.size);
            render(panel, id, grid_pos, interval)
        };
        let panels: Vec<PanelJson> = row.panels.into_iter().map(&mut place).collect();
        let mut head = RowJson {
            id,
            kind: "row",
            title: row.title,
            collapsed: row.is_collapsed,
            grid_pos,
            panels: Vec::new(),
        };
        if row.is_collapsed {
            head.panels = panels;
            items.push(Item::Row(head));
            cursor = Cursor { y: below, ..Cursor::default() };
        } else {
            items.push(Item::Row(head));
            items.extend(panels.into_iter().map(|panel| Item::Panel(Box::new(panel))));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_fill_lines_from_the_left() {
        let size = |width, height| Size { width, height, is_first: false };
        check(
            &[size(8, 8), size(8, 4), size(8, 8), size(12, 2), size(20, 1).first()],
            false,
            &[(0, 1, 8), (8, 1, 8), (16, 1, 8), (0, 9, 12), (0, 11, 20)],
        );
        check(&[size(99, 0), size(0, 5)], false, &[(0, 1, 24), (0, 2, 1)]);
    }

    #[test]
    fn a_collapsed_row_takes_one_line() {
        let rows = vec![row(&[Size::THIRD], true), row(&[Size::THIRD], false)];
        let items = lay_out(rows, None);
        let Item::Row(second) = &items[1] else { panic!("{items:?}") };
        assert_eq!(second.grid_pos.y, 1);
        let Item::Row(first) = &items[0] else { panic!("{items:?}") };
        assert_eq!(first.panels[0].grid_pos.y, 1);
    }

    #[test]
    fn ids_do_not_depend_on_neighbours() {
        let mut ids = Ids::default();
        let (first, again) = (ids.of("a"), ids.of("a"));
        assert_ne!(first, again);
        let mut others = Ids::default();
        others.of("b");
        assert_eq!(others.of("a"), first);
    }

    fn row(sizes: &[Size], is_collapsed: bool) -> Row {
        let panel = |(index, size): (usize, &Size)| {
            Panel::lines(format!("p{index}"), "t", vec![]).size(*size)
        };
        let panels = sizes.iter().enumerate().map(panel).collect();
        Row { title: "r".to_owned(), is_collapsed, panels }
    }

    #[track_caller]
    fn check(sizes: &[Size], is_collapsed: bool, expected: &[(u32, u32, u32)]) {
        let places: Vec<_> = lay_out(vec![row(sizes, is_collapsed)], None)
            .into_iter()
            .filter_map(|item| match item {
                Item::Panel(panel) => Some(panel.grid_pos),
                Item::Row(_) => None,
            })
            .map(|place| (place.x, place.y, place.w))
            .collect();
        assert_eq!(places, expected);
    }
}
