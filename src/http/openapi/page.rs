//! The description as one page of plain HTML: no script, and nothing is loaded from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use serde_json::Value;

use super::super::routes::{self, Caller, Route};
use super::problems::{self, Explained};
use super::{VERSIONS, Version, operations, path};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f3f3f1}code{padding:0 .2em}
pre{padding:.7em;overflow:auto}h2{margin-top:3rem;border-bottom:1px solid #bbb}
h3{margin-top:2.2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3em .6em;border-bottom:1px solid #ddd}
ul.schema{list-style:none;padding-left:1.2em;border-left:2px solid #eee}";

/// Nothing but the page's own style, named by its hash.
pub(super) fn policy() -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy is ASCII")
}

/// The whole page.
pub(super) fn write(description: &Value, has_test_clock: bool) -> String {
    let mut html = String::with_capacity(256 * 1024);
    html += "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">";
    html += "<meta name=\"viewport\" content=\"width=device-width\"><title>farebox</title>";
    html += &format!("<style>{STYLE}</style></head><body><h1>farebox</h1>");
    for paragraph in string(description, "/info/description").split("\n\n") {
        html += &format!("<p>{}</p>", prose(paragraph));
    }
    html += "<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>. \
             Then: <a href=\"#schemas\">schemas</a>, <a href=\"#errors\">errors</a>.</p>";
    let outside = routes::outside(has_test_clock).map(|route| (route, Vec::new()));
    let below = routes::below().map(|route| (route, VERSIONS.to_vec()));
    let components = routes::components(Version::V3_2).map(|route| {
        let has =
            |version: &Version| routes::components(*version).any(|one| one.path() == route.path());
        (route, Version::COMPONENTS.into_iter().filter(has).collect())
    });
    let all: Vec<(&Route, Vec<Version>)> = below.chain(components).chain(outside).collect();
    let mut groups: Vec<&str> = Vec::new();
    for (route, _) in &all {
        let group = operations::of(route.operation).group;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        html += &format!("<h2>{group}</h2>");
        for (route, versions) in &all {
            if operations::of(route.operation).group == group {
                write_route(&mut html, description, route, versions);
            }
        }
    }
    html += "<h2 id=\"schemas\">Schemas</h2>";
    let schemas = description.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        html += &format!("<h3 id=\"{name}\">{name}</h3>");
        write_schema(&mut html, schema);
    }
    html +=
        "<h2 id=\"errors\">Errors</h2><table><tr><th>Code<th>Status<th>Meaning<th>What to do</tr>";
    for Explained { code, status, meaning, remedy } in problems::ALL.iter() {
        html += &format!(
            "<tr id=\"{code}\"><td><code>{code}</code><td>{}<td>{}<td>{}</tr>",
            prose(status),
            prose(meaning),
            prose(remedy)
        );
    }
    html += "</table></body></html>\n";
    html
}

fn write_route(html: &mut String, description: &Value, route: &Route, versions: &[Version]) {
    let about = operations::of(route.operation);
    let method = route.method().as_str();
    let paths: Vec<String> = match versions {
        [] => vec![route.path().to_owned()],
        versions => versions.iter().map(|version| path(route, *version)).collect(),
    };
    let operations = paths
        .iter()
        .filter_map(|path| description.get("paths")?.get(path)?.get(method.to_lowercase()));
    let both: Vec<&Value> = operations.collect();
    let Some(latest) = both.last() else { return };
    let id = string(latest, "/operationId");
    *html += &format!("<h3 id=\"{id}\">{}</h3>", prose(about.summary));
    for (path, operation) in paths.iter().zip(&both) {
        let id = string(operation, "/operationId");
        *html += &format!("<div><code>{method} {}</code> {id}</div>", escaped(path));
    }
    *html += &format!("<p>{}</p>", prose(about.text));
    *html += &format!(
        "<p>{}</p>",
        match route.caller {
            Caller::Anyone => "Needs no token.",
            Caller::Administration => "For administration.",
            Caller::ClientOrAdministration => "For administration and clients.",
            Caller::ClientOfInstanceOrAdministration => {
                "For administration and clients; a client sends <code>x-instance-id</code>."
            }
        }
    );
    write_parameters(html, latest);
    let mut last = "";
    for body in both.iter().filter_map(|operation| operation.pointer("/requestBody/content")) {
        let name = schema_name(body.pointer("/application~1json/schema"));
        if name != last {
            *html += &format!("<p>Body: <a href=\"#{name}\">{name}</a></p>");
            last = name;
        }
    }
    let examples = latest.pointer("/requestBody/content/application~1json/examples");
    for (_, example) in examples.and_then(Value::as_object).into_iter().flatten() {
        write_example(html, "For example", example.get("value"));
    }
    write_responses(html, versions, &both);
}

fn write_parameters(html: &mut String, operation: &Value) {
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let Some(parameters) = parameters.filter(|all| !all.is_empty()) else { return };
    *html += "<table><tr><th>Parameter<th>In<th>What</tr>";
    for parameter in parameters {
        let required = parameter.get("required") == Some(&Value::Bool(true));
        *html += &format!(
            "<tr><td><code>{}</code><td>{}{}<td>{} {}</tr>",
            escaped(string(parameter, "/name")),
            string(parameter, "/in"),
            if required { ", required" } else { "" },
            prose(string(parameter, "/description")),
            limits(parameter.get("schema").unwrap_or(&Value::Null))
        );
    }
    *html += "</table>";
}

fn write_responses(html: &mut String, versions: &[Version], both: &[&Value]) {
    let mut written: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    let names = versions.iter().map(|version| version.name()).chain(["", ""]);
    for (version, operation) in names.zip(both) {
        let responses = operation.get("responses").and_then(Value::as_object);
        for (status, response) in responses.into_iter().flatten() {
            written.entry((status, written_response(response))).or_default().push(version);
        }
    }
    *html += "<table><tr><th>Answer<th>What</tr>";
    for ((status, what), in_versions) in written {
        let in_all = in_versions.len() == both.len();
        let only = if in_all { String::new() } else { in_versions.join(", ") };
        *html += &format!("<tr><td>{status} {only}<td>{what}</tr>");
    }
    *html += "</table>";
    let example = both.last().and_then(|operation| {
        let responses = operation.get("responses")?.as_object()?;
        responses.values().find_map(|one| one.pointer("/content/application~1json/example"))
    });
    write_example(html, "An answer", example);
}

fn written_response(response: &Value) -> String {
    let problem = response.pointer("/content/application~1problem+json/schema/allOf/1");
    let codes = problem.and_then(|schema| schema.pointer("/properties/code/enum"));
    let mut content = response.get("content").and_then(Value::as_object).cloned();
    let mut what = prose(string(response, "/description"));
    if let Some(codes) = codes.and_then(Value::as_array) {
        let codes = codes.iter().filter_map(Value::as_str);
        let linked: Vec<String> =
            codes.map(|code| format!("<a href=\"#{code}\"><code>{code}</code></a>")).collect();
        what = linked.join(", ");
        content.as_mut().and_then(|content| content.remove("application/problem+json"));
        if content.as_ref().is_none_or(serde_json::Map::is_empty) {
            return what;
        }
        what += "; ";
    }
    for (media_type, content) in content.iter().flatten() {
        let name = schema_name(content.get("schema"));
        what += &match name {
            "" => format!(" <code>{media_type}</code>"),
            name => format!(" <a href=\"#{name}\">{name}</a>"),
        };
        what += &format!(" {}", prose(string(content, "/schema/description")));
    }
    let headers = response.get("headers").and_then(Value::as_object);
    for (name, header) in headers.into_iter().flatten() {
        what += &format!("<br><code>{name}</code>: {}", prose(string(header, "/description")));
    }
    what
}

fn write_example(html: &mut String, title: &str, example: Option<&Value>) {
    let Some(example) = example else { return };
    let text = serde_json::to_string_pretty(example).unwrap_or_default();
    *html += &format!("<div>{title}:</div><pre>{}</pre>", escaped(&text));
}

/// A schema in words: what it is, its limits, then its parts.
fn write_schema(html: &mut String, schema: &Value) {
    *html += &format!("{} ", limits(schema));
    *html += &prose(string(schema, "/description")).replace("\n*", "<br>");
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").and_then(Value::as_object);
    let items = schema.get("items").into_iter().map(|items| ("each", items));
    let choices = ["oneOf", "anyOf", "allOf"].into_iter().flat_map(|word| {
        let all = schema.get(word).and_then(Value::as_array);
        all.into_iter()
            .flatten()
            .map(move |one| (if word == "oneOf" { "one of" } else { word }, one))
    });
    let parts: Vec<(&str, &Value)> = items.chain(choices).collect();
    if properties.is_none() && parts.is_empty() {
        return;
    }
    *html += "<ul class=\"schema\">";
    for (name, property) in properties.into_iter().flatten() {
        let is_required =
            required.is_some_and(|names| names.iter().any(|required| required == name.as_str()));
        *html +=
            &format!("<li><code>{name}</code>{} ", if is_required { ", required:" } else { ":" });
        write_schema(html, property);
        *html += "</li>";
    }
    for (word, part) in parts {
        *html += &format!("<li>{word}: ");
        write_schema(html, part);
        *html += "</li>";
    }
    *html += "</ul>";
}

/// Type and limits of a schema, in few words.
fn limits(schema: &Value) -> String {
    let mut words = Vec::new();
    let name = schema_name(Some(schema));
    if !name.is_empty() {
        words.push(format!("<a href=\"#{name}\">{name}</a>"));
    }
    for (key, label) in [
        ("type", ""),
        ("format", ""),
        ("const", "always "),
        ("enum", ""),
        ("minimum", "at least "),
        ("exclusiveMinimum", "more than "),
        ("maximum", "at most "),
        ("minLength", "at least this long: "),
        ("maxLength", "characters at most: "),
        ("minItems", "entries at least: "),
        ("maxItems", "entries at most: "),
        ("maxProperties", "members at most: "),
        ("default", "if left out: "),
    ] {
        let shown = match schema.get(key) {
            None => continue,
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(all)) => {
                let mut list = String::new();
                for one in all {
                    let separator = if list.is_empty() { "" } else { " | " };
                    let _ = write!(list, "{separator}{}", one.as_str().unwrap_or("null"));
                }
                list
            }
            Some(other) => other.to_string(),
        };
        words.push(format!("{label}<i>{}</i>", escaped(&shown)));
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        words.push("nothing else".to_owned());
    }
    words.join(", ")
}

fn schema_name(schema: Option<&Value>) -> &str {
    let named = schema.and_then(|schema| schema.get("$ref")).and_then(Value::as_str);
    named.and_then(|name| name.rsplit('/').next()).unwrap_or("")
}

fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Text of ours, in which backquotes mark code.
fn prose(text: &str) -> String {
    let escaped = escaped(text);
    let mut prose = String::with_capacity(escaped.len());
    for (place, piece) in escaped.split('`').enumerate() {
        if place % 2 == 1 {
            prose += &format!("<code>{piece}</code>");
        } else {
            prose += piece;
        }
    }
    prose
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
