//! The page around the charts: one file that needs nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// A report.
#[derive(Debug, Default)]
pub struct Page {
    /// What was measured.
    pub title: String,
    /// How, in a sentence or two.
    pub lead: String,
    /// From the result to the details.
    pub sections: Vec<Section>,
}

/// A stretch of the page under one heading; what is empty is left out.
#[derive(Debug, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// What to know before one looks.
    pub note: String,
    /// The numbers that matter most.
    pub tiles: Vec<Tile>,
    /// Charts, side by side where the screen is wide enough.
    pub charts: Vec<Markup>,
    /// All numbers.
    pub tables: Vec<Table>,
}

/// One number, large.
#[derive(Debug, Default)]
pub struct Tile {
    /// What it is.
    pub name: String,
    /// The number with its unit.
    pub value: String,
    /// What stands under it, smaller.
    pub detail: String,
    /// Whether it is good, bad or neither.
    pub mood: Mood,
}

/// Whether a number is as one wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// A number like any other.
    #[default]
    Neutral,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Self::Neutral => "tile",
            Self::Good => "tile good",
            Self::Bad => "tile bad",
        }
    }
}

/// Rows; the first column names them.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns' names.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// What is in them.
    pub content: Content,
}

/// What is in a table, which decides how it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Numbers that are compared down a column.
    #[default]
    Numbers,
    /// Words and numbers that have nothing to do with each other.
    Words,
}

impl Page {
    /// The whole file.
    #[must_use]
    pub fn into_html(self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        header {
                            h1 { (self.title) }
                            @if !self.lead.is_empty() { p.lead { (self.lead) } }
                        }
                        @for section in &self.sections { (section.draw()) }
                        footer { p { "Written by tallyd bench " (env!("CARGO_PKG_VERSION")) "." } }
                    }
                }
            }
        };
        page.into_string()
    }
}

impl Section {
    /// Charts under a heading.
    #[must_use]
    pub fn of_charts(heading: &str, charts: Vec<Markup>) -> Self {
        Self { heading: heading.to_owned(), charts, ..Self::default() }
    }

    fn draw(&self) -> Markup {
        html! {
            section {
                @if !self.heading.is_empty() { h2 { (self.heading) } }
                @if !self.note.is_empty() { p { (self.note) } }
                @if !self.tiles.is_empty() {
                    div.tiles { @for tile in &self.tiles { (tile.draw()) } }
                }
                @if !self.charts.is_empty() {
                    div.charts { @for chart in &self.charts { (chart) } }
                }
                @for table in &self.tables { (table.draw()) }
            }
        }
    }
}

impl Tile {
    /// A number that is neither good nor bad.
    #[must_use]
    pub fn new(name: &str, value: impl Into<String>, detail: impl Into<String>) -> Self {
        let (value, detail) = (value.into(), detail.into());
        Self { name: name.to_owned(), value, detail, mood: Mood::Neutral }
    }

    /// The same number, judged.
    #[must_use]
    pub fn judged(self, is_good: bool) -> Self {
        Self { mood: if is_good { Mood::Good } else { Mood::Bad }, ..self }
    }

    fn draw(&self) -> Markup {
        html! {
            div class=(self.mood.class()) {
                div.name { (self.name) }
                div.number { (self.value) }
                @if !self.detail.is_empty() { div.detail { (self.detail) } }
            }
        }
    }
}

impl Table {
    /// A table that has no rows yet.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { head, rows: Vec::new(), content: Content::Numbers }
    }

    /// The same table, set for words.
    #[must_use]
    pub fn of_words(self) -> Self {
        Self { content: Content::Words, ..self }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    fn draw(&self) -> Markup {
        html! {
            // A table may be wider than a phone; then it is scrolled, not the page.
            div.scroll tabindex="0" {
                table class=[(self.content == Content::Words).then_some("words")] {
                    @if !self.head.is_empty() {
                        thead { tr { @for name in &self.head { th scope="col" { (name) } } } }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (i, cell) in row.iter().enumerate() {
                                    @if i == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_escapes_what_it_shows() {
        let evil = "</style><script src=//evil>&\"";
        let table = Table {
            head: vec![evil.to_owned()],
            rows: vec![vec![evil.to_owned()]],
            ..Table::default()
        };
        let section = Section {
            heading: evil.to_owned(),
            note: evil.to_owned(),
            tiles: vec![Tile::new(evil, evil, evil).judged(false)],
            charts: Vec::new(),
            tables: vec![table],
        };
        let page = Page { title: evil.to_owned(), lead: evil.to_owned(), sections: vec![section] };
        let html = page.into_html();
        assert!(!html.contains("<script") && !html.contains("href=") && !html.contains("url("));
        assert_eq!(html.matches("</style>").count(), 1);
    }
}
