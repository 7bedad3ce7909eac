//! The labels that applications send as tags: no rule of a preset names them, but dashboards and
//! alerts made of the preset alone are the better for knowing them.

/// Preset, family, and the labels with blanks between them.
const TAGS: &[(&str, &str, &str)] = &[
    ("aiodogstatsd", "http_request_duration_seconds", "method path status"),
    ("airflow-tags", "airflow_dag_processing_last_duration_seconds", "bundle_name file_name"),
    ("airflow-tags", "airflow_dag_processing_last_run_age_seconds", "bundle_name file_name"),
    ("airflow-tags", "airflow_dagrun_dependency_check_duration_seconds", "dag_id run_type"),
    ("airflow-tags", "airflow_dagrun_duration_seconds", "dag_id run_type"),
    ("airflow-tags", "airflow_dagrun_first_task_scheduling_delay_seconds", "dag_id run_type"),
    ("airflow-tags", "airflow_dagrun_first_task_start_delay_seconds", "dag_id run_type"),
    ("airflow-tags", "airflow_dagrun_schedule_delay_seconds", "dag_id"),
    ("airflow-tags", "airflow_executor_open_slots", "executor_class_name"),
    ("airflow-tags", "airflow_executor_queued_tasks", "executor_class_name"),
    ("airflow-tags", "airflow_executor_running_tasks", "executor_class_name"),
    ("airflow-tags", "airflow_operator_failures_total", "dag_id operator_name task_id"),
    ("airflow-tags", "airflow_operator_successes_total", "dag_id operator_name task_id"),
    ("airflow-tags", "airflow_pool_slots", "pool_name"),
    ("airflow-tags", "airflow_pool_starving_tasks", "pool_name"),
    ("airflow-tags", "airflow_scheduler_executor_heartbeat_duration_seconds", "executor"),
    ("airflow-tags", "airflow_task_duration_seconds", "dag_id task_id"),
    ("airflow-tags", "airflow_task_instance_failures_total", "dag_id task_id"),
    ("airflow-tags", "airflow_task_instance_finishes_total", "dag_id state task_id"),
    ("airflow-tags", "airflow_task_instance_starts_total", "dag_id task_id"),
    ("airflow-tags", "airflow_task_instance_successes_total", "dag_id task_id"),
    ("airflow-tags", "airflow_task_instances_created_total", "dag_id run_type task_type"),
    ("airflow-tags", "airflow_task_scheduled_duration_seconds", "dag_id queue task_id"),
    ("airflow-tags", "airflow_triggerer_capacity_left", "hostname"),
    ("airflow-tags", "airflow_triggers_running", "hostname"),
    (
        "swift",
        "swift_proxy_server_request_body_bytes_total",
        "account container method resource status",
    ),
    (
        "swift",
        "swift_proxy_server_request_duration_seconds",
        "account container method resource status",
    ),
    (
        "swift",
        "swift_proxy_server_request_first_byte_seconds",
        "account container method resource status",
    ),
    (
        "swift",
        "swift_proxy_server_response_body_bytes_total",
        "account container method resource status",
    ),
    ("traefik", "traefik_entrypoint_request_duration_seconds", "entrypoint code method protocol"),
    ("traefik", "traefik_entrypoint_requests_bytes_total", "entrypoint code method protocol"),
    ("traefik", "traefik_entrypoint_requests_tls_total", "entrypoint tls_cipher tls_version"),
    ("traefik", "traefik_entrypoint_requests_total", "entrypoint code method protocol"),
    ("traefik", "traefik_entrypoint_responses_bytes_total", "entrypoint code method protocol"),
    ("traefik", "traefik_router_request_duration_seconds", "router service code method protocol"),
    ("traefik", "traefik_router_requests_bytes_total", "router service code method protocol"),
    ("traefik", "traefik_router_requests_tls_total", "router service tls_cipher tls_version"),
    ("traefik", "traefik_router_requests_total", "router service code method protocol"),
    ("traefik", "traefik_router_responses_bytes_total", "router service code method protocol"),
    ("traefik", "traefik_service_request_duration_seconds", "service code method protocol"),
    ("traefik", "traefik_service_requests_bytes_total", "service code method protocol"),
    ("traefik", "traefik_service_requests_tls_total", "service tls_cipher tls_version"),
    ("traefik", "traefik_service_requests_total", "service code method protocol"),
    ("traefik", "traefik_service_responses_bytes_total", "service code method protocol"),
    ("traefik", "traefik_open_connections", "entrypoint protocol"),
    ("traefik", "traefik_service_retries_total", "service"),
    ("traefik", "traefik_service_server_up", "service url"),
    ("traefik", "traefik_tls_certs_not_after", "cn"),
];

/// The labels that come as tags of a family whose rule is of the file called `origin`.
pub fn of(origin: &str, family: &str) -> impl Iterator<Item = &'static str> {
    let preset = origin.strip_prefix(super::ORIGIN).unwrap_or_default();
    let row = TAGS.iter().find(|(of, name, _)| *of == preset && *name == family);
    row.map(|(_, _, labels)| *labels).unwrap_or_default().split_whitespace()
}
