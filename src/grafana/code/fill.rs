//! Loops: what stands between `<<` and `>>` is filled in.

use super::file::{RawPanel, RawRow};

/// One turn of a loop: a name and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

impl Turn<'_> {
    fn text(self, text: &mut String) {
        *text = text.replace(&format!("<<{}>>", self.name), self.value);
    }

    fn texts<'t>(self, texts: impl IntoIterator<Item = &'t mut String>) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    /// Fills a query in, where values stand between quotes.
    fn query(self, query: &mut String) {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        Turn { value: &value, ..self }.text(query);
    }

    /// A row of this turn.
    pub(super) fn row(self, row: &RawRow) -> RawRow {
        let mut row = RawRow { each: None, ..row.clone() };
        self.text(&mut row.title);
        for panel in &mut row.panels {
            panel.value = self.fill(&panel.value);
        }
        row
    }

    /// A panel of this turn.
    pub(super) fn panel(self, panel: &RawPanel) -> RawPanel {
        RawPanel { each: None, ..self.fill(panel) }
    }

    fn fill(self, panel: &RawPanel) -> RawPanel {
        let mut panel = panel.clone();
        let optional = [
            &mut panel.title,
            &mut panel.description,
            &mut panel.legend,
            &mut panel.text,
            &mut panel.unit,
        ];
        self.texts(optional.into_iter().flatten());
        self.texts(panel.family.iter_mut().map(|family| &mut family.value));
        panel.promql.iter_mut().for_each(|promql| self.query(promql));
        for query in panel.queries.iter_mut().flatten() {
            self.query(&mut query.promql);
            self.text(&mut query.legend);
        }
        if let Some(each) = &mut panel.each {
            let each = &mut each.value;
            self.texts(each.values.iter_mut().flatten());
            self.texts(each.of.iter_mut().chain(&mut each.families).map(|text| &mut text.value));
        }
        panel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_their_quotes() {
        let turn = Turn { name: "v", value: "a\"} or vector(1) #\\" };
        let mut query = "sum(x{l=\"<<v>>\"})".to_owned();
        turn.query(&mut query);
        assert_eq!(query, r#"sum(x{l="a\"} or vector(1) #\\"})"#);
        let mut title = "<<v>> <<w>>".to_owned();
        turn.text(&mut title);
        assert_eq!(title, "a\"} or vector(1) #\\ <<w>>");
    }
}
