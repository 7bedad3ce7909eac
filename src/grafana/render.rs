//! A panel to Grafana's JSON of it.

use super::model::{
    Axis, CellValues, Custom, Datasource, Exemplars, Field, FieldConfig, FilterValues,
    GaugeOptions, GridPos, HeatmapColor, HeatmapOptions, HeatmapRows, HeatmapStyle, HeatmapTooltip,
    HideFrom, Legend, LinesOptions, LinesStyle, Mapping, Mode, Options, PanelJson, Reduce, Scale,
    Shown, Stacking, StatOptions, Step, Steps, Target, TextOptions, Tooltip, Word, Words,
};
use super::panel::{Panel, Query, View};

const LAST: Reduce = Reduce { calcs: ["lastNotNull"], fields: "", values: false };

/// The JSON of a panel under an id, in its place.
pub(super) fn render(
    panel: Panel,
    id: u32,
    grid_pos: GridPos,
    interval: Option<&str>,
) -> PanelJson {
    let options = options(&panel);
    let (is_text, kind) = (matches!(panel.view, View::Text(_)), plugin(&panel.view));
    let field_config = (!is_text).then(|| field_config(&panel));
    let targets = panel.queries.into_iter().enumerate();
    PanelJson {
        id,
        kind,
        title: panel.title,
        description: panel.description,
        datasource: (!is_text).then_some(Datasource::PROMETHEUS),
        grid_pos,
        interval: interval.filter(|_| !is_text).map(str::to_owned),
        field_config,
        options,
        targets: targets.map(|(index, query)| target(index, query)).collect(),
    }
}

fn plugin(view: &View) -> &'static str {
    match view {
        View::Lines | View::Stack => "timeseries",
        View::Stat | View::Switch => "stat",
        View::Gauge => "gauge",
        View::Heatmap => "heatmap",
        View::Text(_) => "text",
    }
}

fn target(index: usize, query: Query) -> Target {
    let letter = u8::try_from(index).ok().filter(|index| *index < 26).map(|index| b'A' + index);
    let is_plain = query.legend.is_empty();
    Target {
        ref_id: letter.map_or_else(|| format!("Q{index}"), |letter| char::from(letter).to_string()),
        datasource: Datasource::PROMETHEUS,
        editor_mode: "code",
        expr: query.promql,
        legend_format: if is_plain { "__auto".to_owned() } else { query.legend },
        range: true,
        instant: false,
        format: if query.is_buckets { "heatmap" } else { "time_series" },
    }
}

fn field_config(panel: &Panel) -> FieldConfig {
    let steps = panel.thresholds.steps.iter();
    let steps = steps.map(|(from, color)| Step { color: color.clone(), value: Some(*from) });
    let base = Step { color: panel.thresholds.base.clone(), value: None };
    let is_number = matches!(panel.view, View::Stat | View::Switch | View::Gauge);
    let defaults = Field {
        unit: panel.unit.clone(),
        min: panel.range.0,
        max: panel.range.1,
        color: Mode { mode: if is_number { "thresholds" } else { "palette-classic" } },
        thresholds: Steps { mode: "absolute", steps: std::iter::once(base).chain(steps).collect() },
        no_value: is_number.then_some("–"),
        mappings: if panel.view == View::Switch { vec![on_and_off()] } else { Vec::new() },
        custom: custom(panel),
    };
    FieldConfig { defaults, overrides: [] }
}

fn on_and_off() -> Mapping {
    let off = Word { text: "off", color: "red", index: 0 };
    let on = Word { text: "on", color: "green", index: 1 };
    Mapping { kind: "value", options: Words { off, on } }
}

fn custom(panel: &Panel) -> Option<Custom> {
    let is_stacked = panel.view == View::Stack;
    let has_steps = !panel.thresholds.steps.is_empty();
    match panel.view {
        View::Lines | View::Stack => Some(Custom::Lines(LinesStyle {
            draw_style: "line",
            line_width: 1,
            fill_opacity: if is_stacked { 15 } else { 10 },
            show_points: "never",
            span_nulls: false,
            stacking: Stacking { mode: if is_stacked { "normal" } else { "none" }, group: "A" },
            thresholds_style: Mode { mode: if has_steps { "line" } else { "off" } },
        })),
        View::Heatmap => Some(Custom::Heatmap(HeatmapStyle {
            hide_from: HideFrom { legend: false, tooltip: false, viz: false },
            scale_distribution: Scale { name: "linear" },
        })),
        View::Stat | View::Switch | View::Gauge | View::Text(_) => None,
    }
}

fn options(panel: &Panel) -> Options {
    match &panel.view {
        View::Lines | View::Stack => Options::Lines(LinesOptions {
            legend: Legend {
                display_mode: "table",
                placement: "bottom",
                is_shown: true,
                calcs: ["mean", "lastNotNull", "max"],
            },
            tooltip: Tooltip { mode: "multi", sort: "desc" },
        }),
        View::Stat | View::Switch => Options::Stat(StatOptions {
            graph_mode: if panel.view == View::Switch { "none" } else { "area" },
            color_mode: "value",
            justify_mode: "auto",
            text_mode: "auto",
            wide_layout: true,
            show_percent_change: false,
            percent_change_color_mode: "standard",
            orientation: "auto",
            reduce_options: LAST,
        }),
        View::Gauge => Options::Gauge(GaugeOptions {
            show_threshold_labels: false,
            show_threshold_markers: true,
            sizing: "auto",
            min_viz_width: 75,
            min_viz_height: 75,
            orientation: "auto",
            reduce_options: LAST,
        }),
        View::Heatmap => Options::Heatmap(Box::new(heatmap(&panel.unit))),
        View::Text(content) => {
            Options::Text(TextOptions { mode: "markdown", content: content.clone() })
        }
    }
}

fn heatmap(unit: &str) -> HeatmapOptions {
    HeatmapOptions {
        calculate: false,
        cell_gap: 1,
        color: HeatmapColor {
            mode: "scheme",
            scheme: "Oranges",
            fill: "dark-orange",
            scale: "exponential",
            exponent: 0.5,
            steps: 64,
            reverse: false,
        },
        show_value: "never",
        y_axis: Axis { placement: "left", unit: unit.to_owned(), reverse: false },
        rows_frame: HeatmapRows { layout: "auto" },
        cell_values: CellValues { unit: "short" },
        filter_values: FilterValues { le: 1e-9 },
        legend: Shown { is_on: true },
        tooltip: HeatmapTooltip { mode: "single", y_histogram: true, show_color_scale: false },
        exemplars: Exemplars { color: "rgba(255,0,255,0.7)" },
    }
}
