"""The house style of the dashboards: what a panel, a row and a variable look like.

A board says what is shown; how it looks is decided here, once. Every panel has
a unit and a sentence that says how to read it. All of it goes through Grafana's
own typed SDK, so a field that Grafana does not know cannot be written.
"""

from grafana_foundation_sdk.builders import common, dashboard, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import units as UNIT
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphGradientMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = [
    "REQUESTS",
    "SECONDS",
    "SERVICE",
    "UNIT",
    "Board",
    "errors",
    "happened",
    "per_second",
    "quantile",
    "quantiles",
    "ratio",
]

TAG = "gatemeter"
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
# The series of the one service that a board is about.
SERVICE = 'service="$service"'
REQUESTS = "http_requests_total"
SECONDS = "http_request_duration_seconds"
AS_MEASURED = "As the service measured it."

# --- expressions ------------------------------------------------------------


def per_second(metric, where, by=""):
    """The rate of a counter, summed, by label."""
    over = f" by ({by})" if by else ""
    return f"sum{over} (rate({metric}{{{where}}}[$__rate_interval]))"


def ratio(part, whole, by=""):
    """A share of a rate. Where there is no part at all it is 0, not unknown."""
    nothing = f"{whole} * 0" if by else "vector(0)"
    return f"({part} or {nothing}) / {whole}"


def errors(where, by=""):
    """The share of requests that were answered with 5xx."""
    return ratio(per_second(REQUESTS, where + ',status=~"5.."', by), per_second(REQUESTS, where, by), by)


def quantiles(metric, where, by=""):
    """The queries of the four percentiles of a histogram."""
    return [
        (quantile(q, metric, where, by), name)
        for q, name in [("0.5", "p50"), ("0.9", "p90"), ("0.95", "p95"), ("0.99", "p99")]
    ]


def quantile(q, metric, where, by=""):
    """One percentile of a histogram."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {per_second(metric + '_bucket', where, labels)})"


def happened(metric, where, label, *more):
    """What should not happen, by label. Without a series it is 0 under `none`:
    such a counter has no series until something happens."""
    none = f'label_replace(vector(0), "{label}", "none", "", "")'
    return f"{per_second(metric, where, ', '.join([label, *more]))} or {none}"


# --- the board --------------------------------------------------------------


class Board:
    """One dashboard, filled from left to right and top to bottom."""

    def __init__(self, uid, title, description):
        self.uid = uid
        self.panels = 0
        self.dashboard = (
            dashboard.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags([TAG])
            .timezone("browser")
            .readonly()
            .refresh("30s")
            .time("now-1h", "now")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
            .link(
                dashboard.DashboardLink("Dashboards")
                .type(DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True)
                .icon("external link")
                .tooltip("The other dashboards of Gatemeter, at the same time")
            )
        )

    def choose(self, name, label, metric, of, several):
        """A variable: the values that a label of a metric has now."""
        variable = (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query({"qryType": 1, "query": f"label_values({metric}, {of})", "refId": name})
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(several)
            .include_all(several)
        )
        if several:
            variable = variable.all_value(".*")
        self.dashboard.with_variable(variable)
        return self

    def link(self, title, uid, tooltip):
        """A link to another dashboard, for the same service and time."""
        self.dashboard.link(
            dashboard.DashboardLink(title)
            .type(DashboardLinkType.LINK)
            .url(f"/d/{uid}")
            .include_vars(True)
            .keep_time(True)
            .icon("dashboard")
            .tooltip(tooltip)
        )
        return self

    def of_a_preset(self, metric):
        """About one of the services that have this metric of a preset; what all
        services have is elsewhere."""
        return (
            self.choose("service", "Service", metric, "service", several=False)
            .link("The service in depth", "gatemeter-service", "Routes, latency, caches, pool of this service")
            .link("All services", "gatemeter-overview", "All services side by side")
        )

    def row(self, title):
        self.panels += 1
        self.dashboard.with_row(dashboard.Row(title).id(self.panels))
        return self

    def graph(self, title, unit, queries, how, width=8, stacked=False, top=None):
        """Lines over time; `top` is the end of the axis where one is known."""
        panel = (
            timeseries.Panel()
            .line_width(1)
            .fill_opacity(60 if stacked else 10)
            .gradient_mode(GraphGradientMode.NONE)
            .show_points(VisibilityMode.NEVER)
            .min(0)
            .legend(
                common.VizLegendOptions()
                .show_legend(True)
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
            )
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        )
        if top is not None:
            panel = panel.max(top)
        if stacked:
            panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        return self._place(panel, title, unit, queries, how, width, 8)

    def number(self, title, unit, query, how, width=4, bad_from=None, good_from=None):
        """One number, with its course behind it; red from a value on, or below one."""
        panel = (
            stat.Panel()
            .graph_mode(BigValueGraphMode.AREA)
            .color_mode(BigValueColorMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(
                dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(_steps(bad_from, good_from))
            )
        )
        return self._place(panel, title, unit, [(query, "")], how, width, 4)

    def heat(self, title, metric, where, how, width=12):
        """How many observations fell into which bucket, over time."""
        panel = (
            heatmap.Panel()
            .calculate(False)
            .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
            .y_axis(heatmap.YAxisConfig().unit(UNIT.Seconds))
            .cell_gap(1)
            .show_legend()
            .mode(TooltipDisplayMode.SINGLE)
        )
        expression = f"sum by (le) (increase({metric}_bucket{{{where}}}[$__rate_interval]))"
        query = Dataquery().format(PromQueryFormat.HEATMAP)
        return self._place(panel, title, UNIT.Seconds, [(expression, "{{le}}")], how, width, 8, query)

    def errors_now(self, where):
        """The share of requests that were answered with 5xx, as a number."""
        return self.number(
            "Errors",
            UNIT.PercentUnit,
            errors(where),
            "Share of requests that were answered with 5xx.",
            bad_from=0.01,
        )

    def open_now(self, where):
        """What is open, as a number."""
        return self.number(
            "Open",
            UNIT.Short,
            f"sum (active_connections{{{where}}})",
            "Requests and WebSockets that are open in Envoy.",
        )

    def by_status(self, where):
        """Requests by status over time."""
        return self.graph(
            "Requests by status",
            UNIT.RequestsPerSecond,
            [(per_second(REQUESTS, where, "status"), "{{status}}")],
            "499: the client went away first. _OTHER: there was no response.",
            stacked=True,
        )

    def p95(self, of, metric, how=AS_MEASURED):
        """The 95th percentile of a duration, as a number."""
        return self.number(f"{of} p95", UNIT.Seconds, quantile("0.95", metric, SERVICE), how, width=6)

    def durations(self, of, metric):
        """All durations of one kind, and their percentiles beside them."""
        return self.heat(
            f"Durations of {of}", metric, SERVICE, "How many fell into which bucket."
        ).graph(f"Duration of {of}", UNIT.Seconds, quantiles(metric, SERVICE), AS_MEASURED, width=12)

    def table(self, title, label, columns, how, to, width=24):
        """One line for each value of a label, with a link from it to the dashboard
        `to`; a column is a name, a unit and a query that sums by the label."""
        names = {f"Value #{chr(ord('A') + at)}": name for at, (name, _, _) in enumerate(columns)}
        order = {"Time": 0, label: 1} | {value: at for at, value in enumerate(names, 2)}
        panel = (
            table.Panel()
            .with_transformation(DataTransformerConfig(id_val="merge", options={}))
            .with_transformation(
                DataTransformerConfig(
                    id_val="organize",
                    options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names},
                )
            )
        )
        for name, unit, _ in columns:
            panel = panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
        link = {
            "title": "${__value.text} in depth",
            "url": f"/d/{to}?var-{label}=${{__value.text}}&${{__url_time_range}}",
        }
        panel = panel.override_by_name(label, [DynamicConfigValue(id_val="links", value=[link])])
        query = Dataquery().format(PromQueryFormat.TABLE).instant()
        queries = [(expression, name) for name, _, expression in columns]
        return self._place(panel, title, UNIT.Short, queries, how, width, 8, query)

    def _place(self, panel, title, unit, queries, how, width, height, like=None):
        self.panels += 1
        panel = (
            panel.id(self.panels)
            .title(title)
            .description(how)
            .datasource(SOURCE)
            .unit(unit)
            .span(width)
            .height(height)
        )
        for at, (expression, legend) in enumerate(queries):
            query = Dataquery().expr(expression).ref_id(chr(ord("A") + at)).datasource(SOURCE)
            shape = like.build() if like else None
            if legend:
                query = query.legend_format(legend)
            if shape and shape.format_val:
                query = query.format(shape.format_val)
            query = query.instant() if shape and shape.instant else query.range()
            panel = panel.with_target(query)
        self.dashboard.with_panel(panel)
        return self

    def build(self):
        """What Grafana reads."""
        return self.dashboard.build()


def _steps(bad_from, good_from):
    if bad_from is not None:
        return [Threshold(value=None, color="green"), Threshold(value=bad_from, color="red")]
    if good_from is not None:
        return [Threshold(value=None, color="red"), Threshold(value=good_from, color="green")]
    return [Threshold(value=None, color="text")]
