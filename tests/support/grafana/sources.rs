//! Data sources, and the Prometheus behind them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::routes::Caller;
use super::state::{Role, State};
use super::wire::{Answer, Reply, Request, text};

pub(crate) fn handle(state: &State, request: &Request, caller: Caller, path: &[&str]) -> Reply {
    let Some(org) = state.orgs.get(&caller.org) else {
        return Err(Answer::refuse(404, "Not found"));
    };
    let missing = || Answer::refuse(404, "Data source not found");
    let find = |uid: &str| org.sources.get(uid).ok_or_else(missing);
    match (request.method.as_str(), path) {
        ("GET", []) => {
            caller.needs(Role::Admin, "datasources:read")?;
            let shown = |source: &Map<String, Value>| {
                let mut source = source.clone();
                source.insert("typeName".to_owned(), "Prometheus".into());
                Value::Object(source)
            };
            Answer::ok(&org.sources.values().map(shown).collect())
        }
        ("GET", ["uid", uid]) => Answer::ok(&whole(find(uid)?)),
        ("GET", ["name", name]) => {
            let named = org.sources.values().find(|source| text(source, "name") == *name);
            Answer::ok(&whole(named.ok_or_else(missing)?))
        }
        ("GET", ["uid", uid, "health"]) => {
            if is_down(find(uid)?) {
                let message = "connect: connection refused";
                return Err(Answer::json(400, &json!({"status": "ERROR", "message": message})));
            }
            let message = "Successfully queried the Prometheus API.";
            Answer::ok(&json!({"status": "OK", "message": message}))
        }
        (_, ["proxy", "uid", uid, "api", "v1", endpoint]) => {
            if is_down(find(uid)?) {
                return Err(Answer::refuse(502, "Bad Gateway"));
            }
            match &state.prometheus {
                Some(url) => ask(url, endpoint, request),
                None => make_up(endpoint, request),
            }
        }
        _ => Err(Answer::refuse(404, "Not found")),
    }
}

fn whole(source: &Map<String, Value>) -> Value {
    let mut source = source.clone();
    source.insert("basicAuthUser".to_owned(), "".into());
    source.insert("secureJsonFields".to_owned(), json!({}));
    source.insert("version".to_owned(), 1.into());
    source.insert("withCredentials".to_owned(), false.into());
    source.into()
}

/// A data source at the discard port has nobody behind it.
fn is_down(source: &Map<String, Value>) -> bool {
    text(source, "url").ends_with(":9")
}

fn ask(url: &str, endpoint: &str, request: &Request) -> Reply {
    let url = format!("{url}/api/v1/{endpoint}?{}", request.raw_query);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let asked = if request.method == "POST" {
        minreq::post(url).with_header(form.0, form.1).with_body(request.body.as_str())
    } else {
        minreq::get(url)
    };
    let Ok(answer) = asked.with_timeout(Duration::from_secs(10).as_secs()).send() else {
        return Err(Answer::refuse(502, "Bad Gateway"));
    };
    let status = answer.status_code;
    let kind = [("content-type", "application/json")];
    Ok(Answer::raw(status, answer.as_str().unwrap_or_default(), &kind))
}

/// One series of ones, or the complaint about a query that ends too early.
fn make_up(endpoint: &str, request: &Request) -> Reply {
    let form = request.form();
    let given = |name: &str| request.one(name).or_else(|| form.one(name)).unwrap_or_default();
    let query = given("query");
    if query.matches('(').count() != query.matches(')').count() {
        let error = "parse error: unclosed left parenthesis";
        let body = json!({"status": "error", "errorType": "bad_data", "error": error});
        return Err(Answer::json(400, &body));
    }
    let metric = json!({"__name__": "reqs_total", "job": "tallyd"});
    let number = |name: &str| given(name).parse::<f64>().unwrap_or_default();
    let data = if endpoint == "query_range" {
        let (start, end, step) = (number("start"), number("end"), number("step").max(1.0));
        let times = std::iter::successors(Some(start), |time| Some(time + step));
        let values: Vec<_> =
            times.take_while(|time| *time <= end).map(|t| json!([t, "1"])).collect();
        json!({"resultType": "matrix", "result": [{"metric": metric, "values": values}]})
    } else {
        json!({"resultType": "vector", "result": [{"metric": metric, "value": [number("time"), "1"]}]})
    };
    Answer::ok(&json!({"status": "success", "data": data}))
}
