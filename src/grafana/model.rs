//! Grafana's own JSON of a dashboard, as far as we write it; fields come in this order.

use serde::Serialize;

/// The data source variable that every query goes to.
pub(super) const DATASOURCE: &str = "${datasource}";

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Model {
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) tags: Vec<String>,
    pub(super) schema_version: u32,
    pub(super) editable: bool,
    pub(super) graph_tooltip: u32,
    pub(super) timezone: &'static str,
    pub(super) week_start: &'static str,
    pub(super) fiscal_year_start_month: u32,
    pub(super) live_now: bool,
    pub(super) refresh: &'static str,
    pub(super) time: TimeRange,
    pub(super) timepicker: TimePicker,
    pub(super) annotations: List<Annotation>,
    pub(super) templating: List<Variable>,
    pub(super) links: Vec<Link>,
    pub(super) panels: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct List<T> {
    pub(super) list: Vec<T>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TimeRange {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TimePicker {
    pub(super) refresh_intervals: [&'static str; 6],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Datasource {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'static str,
}

impl Datasource {
    pub(super) const PROMETHEUS: Self = Self { kind: "prometheus", uid: DATASOURCE };
    pub(super) const GRAFANA: Self = Self { kind: "grafana", uid: "-- Grafana --" };
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Annotation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) built_in: Option<u32>,
    pub(super) datasource: Datasource,
    pub(super) enable: bool,
    pub(super) hide: bool,
    pub(super) icon_color: &'static str,
    pub(super) name: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(flatten)]
    pub(super) query: Option<AnnotationQuery>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnnotationQuery {
    pub(super) expr: String,
    pub(super) step: &'static str,
    pub(super) title_format: &'static str,
    pub(super) text_format: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Variable {
    Datasource(DatasourceVariable),
    Query(QueryVariable),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "Grafana's own fields")]
pub(super) struct DatasourceVariable {
    pub(super) name: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) query: &'static str,
    pub(super) regex: &'static str,
    pub(super) current: Choice<String>,
    pub(super) hide: u32,
    pub(super) include_all: bool,
    pub(super) multi: bool,
    pub(super) options: [(); 0],
    pub(super) refresh: u32,
    pub(super) skip_url_sync: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "Grafana's own fields")]
pub(super) struct QueryVariable {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) label: String,
    pub(super) datasource: Datasource,
    pub(super) query: VariableQuery,
    pub(super) definition: String,
    pub(super) refresh: u32,
    pub(super) sort: u32,
    pub(super) multi: bool,
    pub(super) include_all: bool,
    pub(super) all_value: &'static str,
    pub(super) current: Choice<[&'static str; 1]>,
    pub(super) hide: u32,
    pub(super) options: [(); 0],
    pub(super) regex: &'static str,
    pub(super) skip_url_sync: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VariableQuery {
    pub(super) query: String,
    pub(super) ref_id: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Choice<T> {
    pub(super) text: T,
    pub(super) value: T,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "Grafana's own fields")]
pub(super) struct Link {
    pub(super) title: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) icon: &'static str,
    pub(super) tooltip: &'static str,
    pub(super) url: &'static str,
    pub(super) tags: Vec<String>,
    pub(super) as_dropdown: bool,
    pub(super) target_blank: bool,
    pub(super) include_vars: bool,
    pub(super) keep_time: bool,
}

/// What stands on a dashboard's top level.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Item {
    Row(RowJson),
    Panel(Box<PanelJson>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowJson {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) collapsed: bool,
    pub(super) grid_pos: GridPos,
    /// What a collapsed row holds; the panels of an open one stand behind it.
    pub(super) panels: Vec<PanelJson>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GridPos {
    pub(super) h: u32,
    pub(super) w: u32,
    pub(super) x: u32,
    pub(super) y: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PanelJson {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) datasource: Option<Datasource>,
    pub(super) grid_pos: GridPos,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field_config: Option<FieldConfig>,
    pub(super) options: Options,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) ref_id: String,
    pub(super) datasource: Datasource,
    pub(super) editor_mode: &'static str,
    pub(super) expr: String,
    pub(super) legend_format: String,
    pub(super) range: bool,
    pub(super) instant: bool,
    pub(super) format: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: Field,
    pub(super) overrides: [(); 0],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Field {
    pub(super) unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
    pub(super) color: Mode,
    pub(super) thresholds: Steps,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_value: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<Custom>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mode {
    pub(super) mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Steps {
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) color: String,
    pub(super) value: Option<f64>,
}

/// What stands for 0 and for 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mapping {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) options: Words,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Words {
    #[serde(rename = "0")]
    pub(super) off: Word,
    #[serde(rename = "1")]
    pub(super) on: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Word {
    pub(super) text: &'static str,
    pub(super) color: &'static str,
    pub(super) index: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Custom {
    Lines(LinesStyle),
    Heatmap(HeatmapStyle),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinesStyle {
    pub(super) draw_style: &'static str,
    pub(super) line_width: u32,
    pub(super) fill_opacity: u32,
    pub(super) show_points: &'static str,
    pub(super) span_nulls: bool,
    pub(super) stacking: Stacking,
    pub(super) thresholds_style: Mode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stacking {
    pub(super) mode: &'static str,
    pub(super) group: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeatmapStyle {
    pub(super) hide_from: HideFrom,
    pub(super) scale_distribution: Scale,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "Grafana's own fields")]
pub(super) struct HideFrom {
    pub(super) legend: bool,
    pub(super) tooltip: bool,
    pub(super) viz: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Scale {
    #[serde(rename = "type")]
    pub(super) name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Options {
    Lines(LinesOptions),
    Stat(StatOptions),
    Gauge(GaugeOptions),
    Heatmap(Box<HeatmapOptions>),
    Text(TextOptions),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LinesOptions {
    pub(super) legend: Legend,
    pub(super) tooltip: Tooltip,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Legend {
    pub(super) display_mode: &'static str,
    pub(super) placement: &'static str,
    #[serde(rename = "showLegend")]
    pub(super) is_shown: bool,
    pub(super) calcs: [&'static str; 3],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tooltip {
    pub(super) mode: &'static str,
    pub(super) sort: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reduce {
    pub(super) calcs: [&'static str; 1],
    pub(super) fields: &'static str,
    pub(super) values: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatOptions {
    pub(super) graph_mode: &'static str,
    pub(super) color_mode: &'static str,
    pub(super) justify_mode: &'static str,
    pub(super) text_mode: &'static str,
    pub(super) wide_layout: bool,
    pub(super) show_percent_change: bool,
    pub(super) percent_change_color_mode: &'static str,
    pub(super) orientation: &'static str,
    pub(super) reduce_options: Reduce,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GaugeOptions {
    pub(super) show_threshold_labels: bool,
    pub(super) show_threshold_markers: bool,
    pub(super) sizing: &'static str,
    pub(super) min_viz_width: u32,
    pub(super) min_viz_height: u32,
    pub(super) orientation: &'static str,
    pub(super) reduce_options: Reduce,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeatmapOptions {
    pub(super) calculate: bool,
    pub(super) cell_gap: u32,
    pub(super) color: HeatmapColor,
    pub(super) show_value: &'static str,
    pub(super) y_axis: Axis,
    pub(super) rows_frame: HeatmapRows,
    pub(super) cell_values: CellValues,
    pub(super) filter_values: FilterValues,
    pub(super) legend: Shown,
    pub(super) tooltip: HeatmapTooltip,
    pub(super) exemplars: Exemplars,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct HeatmapColor {
    pub(super) mode: &'static str,
    pub(super) scheme: &'static str,
    pub(super) fill: &'static str,
    pub(super) scale: &'static str,
    pub(super) exponent: f64,
    pub(super) steps: u32,
    pub(super) reverse: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Axis {
    #[serde(rename = "axisPlacement")]
    pub(super) placement: &'static str,
    pub(super) unit: String,
    pub(super) reverse: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HeatmapRows {
    pub(super) layout: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CellValues {
    pub(super) unit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FilterValues {
    pub(super) le: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    #[serde(rename = "show")]
    pub(super) is_on: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeatmapTooltip {
    pub(super) mode: &'static str,
    pub(super) y_histogram: bool,
    pub(super) show_color_scale: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Exemplars {
    pub(super) color: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TextOptions {
    pub(super) mode: &'static str,
    pub(super) content: String,
}
