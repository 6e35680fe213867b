#!/usr/bin/env python3
"""Make prometheusrule.yaml of rules.yml, and dashboard.json of the panels below.

    python3 generate.py            write both files
    python3 generate.py --check    say which of them is not what it would be; exit 1 if any
    python3 generate.py --queries  print the dashboard's queries, one a line

Python's standard library only.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

# What every query is about: the boxes that are chosen on top of the dashboard.
BOX = 'job="picket", instance=~"$instance"'


def rate(metric: str, labels: str = "") -> str:
    return f"rate({metric}{{{BOX}{labels}}}[$__rate_interval])"


def quantile(q: float, stage: str) -> str:
    buckets = rate("picket_stage_duration_seconds_bucket", f', stage="{stage}"')
    return f"histogram_quantile({q}, sum by (instance, le) ({buckets}))"


def now(metric: str, labels: str = "") -> str:
    return f"{metric}{{{BOX}{labels}}}"


PER_BOX = "{{instance}}"

# Rows of panels: title, unit, and for each line its query and its legend.
ROWS = [
    ("How it is", [
        ("Up", "bool_on_off", [(now("up"), PER_BOX)]),
        ("Model loaded", "bool_yes_no", [(now("inference_model_loaded"), PER_BOX)]),
        ("Log takes records", "bool_yes_no", [(now("logging_db_initialized"), PER_BOX)]),
        ("Not ready", "none", [(f"max by (instance, reason) ({now('picket_not_ready')})", PER_BOX + " {{reason}}")]),
        ("Alive", "bool_yes_no", [(f"min by (instance, subsystem) ({now('picket_subsystem_alive')})",
                                   PER_BOX + " {{subsystem}}")]),
        ("Near misses in an hour", "none", [
            (f"sum by (instance, subsystem) (increase(picket_subsystem_near_misses_total{{{BOX}}}[1h]))",
             PER_BOX + " {{subsystem}}")]),
        ("Uptime", "s", [("time() - " + now("process_start_time_seconds"), PER_BOX)]),
        ("Clock synchronised", "bool_yes_no", [(now("picket_clock_synchronised"), PER_BOX)]),
    ]),
    ("Predictions", [
        ("Predictions", "reqps", [(rate("inference_predictions_total"), PER_BOX)]),
        ("Failed here", "percentunit", [(f"instance:inference_errors:ratio_rate5m{{{BOX}}}", PER_BOX)]),
        ("Answered with an error", "reqps", [
            (f"sum by (instance, status) ({rate('picket_http_rejected_requests_total')})",
             PER_BOX + " {{status}}")]),
        ("Waiting for a worker", "none", [
            (now("picket_queue_depth"), PER_BOX),
            (now("picket_queue_capacity"), PER_BOX + " capacity")]),
        ("Turned away", "reqps", [(rate("picket_predictions_turned_away_total"), PER_BOX)]),
        ("Inference", "s", [(quantile(0.5, "inference"), PER_BOX + " p50"),
                            (quantile(0.99, "inference"), PER_BOX + " p99")]),
        ("Decoding", "s", [(quantile(0.99, "decode"), PER_BOX + " p99")]),
        ("In the queue", "s", [(quantile(0.99, "queue"), PER_BOX + " p99")]),
    ]),
    ("Log", [
        ("Records taken", "cps", [(rate("logging_predictions_total"), PER_BOX)]),
        ("Defects", "percentunit", [(f"instance:logging_defects:ratio_rate5m{{{BOX}}}", PER_BOX)]),
        ("Records not logged", "cps", [(rate("logging_errors_total"), PER_BOX)]),
        ("State", "none", [(f"max by (instance, state) ({now('picket_log_state')})", PER_BOX + " {{state}}")]),
        ("Commit", "s", [(quantile(0.5, "commit"), PER_BOX + " p50"),
                         (quantile(0.99, "commit"), PER_BOX + " p99")]),
        ("On disk", "bytes", [(now("picket_log_disk_bytes"), PER_BOX),
                              (now("instance:picket_log_max:bytes"), PER_BOX + " may be")]),
        ("Records", "none", [(now("picket_log_records"), PER_BOX),
                             (now("picket_log_max_records"), PER_BOX + " may be")]),
        ("Oldest record", "s", [(now("picket_log_oldest_record_age_seconds"), PER_BOX)]),
        ("Can't be read, set aside", "none", [(now("picket_log_lost_records"), PER_BOX + " records lost"),
                                              (now("picket_log_quarantines"), PER_BOX + " stores")]),
    ]),
    ("The box", [
        ("Free on the log's disk", "bytes", [
            (now("picket_log_disk_free_bytes"), PER_BOX),
            (f"instance:picket_disk_room:bytes{{{BOX}}}", PER_BOX + " beside the log's budget")]),
        ("Written in a day", "bytes", [(now("picket_written_bytes_per_day"), PER_BOX)]),
        ("Written for a record", "bytes", [(now("picket_written_bytes_per_record"), PER_BOX)]),
        ("Life of a new card, years", "none", [(f"instance:picket_card_life:years{{{BOX}}}", PER_BOX)]),
        ("Model refused, left again", "none", [
            (f"sum by (instance, why) (increase(picket_model_refused_total{{{BOX}}}[1h]))", PER_BOX + " {{why}}"),
            (f"increase(picket_model_rollbacks_total{{{BOX}}}[1h])", PER_BOX + " left")]),
        ("Pictures of which a second model says something else", "percentunit", [
            (f"{now('picket_model_disagreed_pictures')} / {now('picket_model_compared_pictures')}", PER_BOX)]),
        ("Model registry last seen", "dateTimeFromNow", [
            (f"{now('picket_registry_last_contact_timestamp_seconds')} * 1000", PER_BOX)]),
        ("Model registry answers", "bool_yes_no", [(now("inference_mlflow_accessible"), PER_BOX)]),
        ("Memory", "bytes", [(now("process_resident_memory_bytes"), PER_BOX)]),
        ("Memory of requests", "bytes", [
            (f"sum by (instance, class) ({now('picket_memory_taken_bytes')})", PER_BOX + " {{class}}"),
            (now("picket_memory_budget_bytes"), PER_BOX + " may be")]),
        ("Refused for want of memory", "reqps", [
            (f"sum by (instance, class) ({rate('picket_memory_refusals_total')})", PER_BOX + " {{class}}")]),
        ("CPU", "percentunit", [(rate("process_cpu_seconds_total"), PER_BOX)]),
        ("Open connections", "none", [(now("picket_http_connections"), PER_BOX + " {{listener}}")]),
        ("Connections dropped", "cps", [
            (f"sum by (instance, listener, why) ({rate('picket_http_dropped_connections_total')})",
             PER_BOX + " {{listener}} {{why}}")]),
        ("Lines of the log lost", "cps", [(rate("picket_lost_lines_total"), PER_BOX)]),
    ]),
]

# Grafana's grid is 24 wide: four panels beside each other.
PANEL_WIDTH, PANEL_HEIGHT, ROW_WIDTH = 6, 7, 24


def dashboard() -> dict:
    panels, y = [], 0
    for row, members in ROWS:
        panels.append({"type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": ROW_WIDTH, "h": 1}})
        y += 1
        for at, (title, unit, targets) in enumerate(members):
            x, line = at * PANEL_WIDTH % ROW_WIDTH, at * PANEL_WIDTH // ROW_WIDTH
            panels.append(panel(title, unit, targets, x, y + line * PANEL_HEIGHT))
        y += -(-len(members) * PANEL_WIDTH // ROW_WIDTH) * PANEL_HEIGHT
    for number, each in enumerate(panels, 1):
        each["id"] = number
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    boxes = {"name": "instance", "label": "Box", "type": "query", "datasource": DATASOURCE,
             "query": {"query": 'label_values(up{job="picket"}, instance)', "refId": "instances"},
             "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
             "current": {"text": ["All"], "value": ["$__all"]}}
    return {"uid": "picket", "title": "Picket", "tags": ["picket"], "timezone": "browser",
            "schemaVersion": 38, "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [source, boxes]}, "panels": panels}


DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(title: str, unit: str, targets: list, x: int, y: int) -> dict:
    # A fact that holds or does not is a stepped line, anything else a line.
    stepped = {"lineInterpolation": "stepAfter"} if unit.startswith("bool") else {}
    return {"type": "timeseries", "title": title, "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": PANEL_WIDTH, "h": PANEL_HEIGHT},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": stepped}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi"}},
            "targets": [{"datasource": DATASOURCE, "expr": expr, "legendFormat": legend, "refId": chr(65 + at)}
                        for at, (expr, legend) in enumerate(targets)]}


def prometheus_rule() -> str:
    """rules.yml as the operator takes it: its groups, under a name."""
    rules = (HERE / "rules.yml").read_text().split("groups:\n", 1)[1]
    indented = "".join(f"  {line}" if line.strip() else line for line in rules.splitlines(keepends=True))
    return ("# Made of rules.yml by generate.py.\n"
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: picket\n"
            "  labels: {app.kubernetes.io/name: picket}\nspec:\n  groups:\n" + indented)


def queries() -> list[str]:
    return [target["expr"] for each in dashboard()["panels"] for target in each.get("targets", [])]


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["--queries"]:
        print("\n".join(queries()))
        return
    if arguments not in ([], ["--check"]):
        sys.exit(__doc__)
    made = {"prometheusrule.yaml": prometheus_rule(), "dashboard.json": json.dumps(dashboard(), indent=1) + "\n"}
    stale = [name for name, text in made.items()
             if not (HERE / name).exists() or (HERE / name).read_text() != text]
    if arguments and stale:
        sys.exit(f"not as generate.py makes it: {', '.join(stale)}")
    for name in [] if arguments else stale:
        (HERE / name).write_text(made[name])
        print(name)


if __name__ == "__main__":
    main()
