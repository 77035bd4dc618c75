//! Makes a world over HTTP, and reads back what was used of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use indicatif::ProgressBar;
use memchr::memmem::Finder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::Client;
use super::{Http, Instance, Prepared, read};
use crate::Anything;
use crate::audit::Taken;
use crate::profile::{Profile, Requested, World};
use crate::target::setting::{
    COMPONENT_TOKENS, COMPONENTS, EFFECTIVE_FROM_MS, FILLER, LEASE_S, Setting, TABLE_VERSION,
};
use crate::target::{answered, named};

/// Connections that make instances at the same time.
const MAKERS: usize = 32;

impl Http {
    /// See [`crate::target::Target::prepare`].
    ///
    /// # Errors
    /// If the server does not do as it is told.
    pub async fn prepare(
        &self,
        profile: &Profile,
        progress: &ProgressBar,
    ) -> Result<Prepared, Anything> {
        let (headers, setting) = (self.headers()?, Arc::new(Setting::new(&profile.world)));
        let many = profile.world.instances;
        if self.token.is_none() {
            if !profile.has_only_one_offs() {
                return Err("the no-op server answers one-off requests alone".into());
            }
            let unknown = |at| Instance::new(format!("00000000-0000-4000-8000-{at:012}"), "");
            let instances = (0..many).map(unknown).collect::<Result<_, _>>()?;
            return Prepared::new(self.clone(), headers, &profile.world, &setting, instances);
        }
        let mut maker = Maker::new(self, headers.clone(), profile, &setting);
        if profile.world.storm {
            maker.administration.check_clock().await?;
        }
        maker.make_tables().await?;
        if maker.has_components {
            maker.make_product().await?;
        }
        progress.set_length(u64::try_from(many)?);
        let next = Arc::new(AtomicUsize::new(0));
        let mut makers = JoinSet::new();
        for _ in 0..MAKERS.min(many) {
            let (next, progress) = (Arc::clone(&next), progress.clone());
            let mut maker = Maker::new(self, headers.clone(), profile, &setting);
            makers.spawn(async move {
                let mut made = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= many {
                        return Ok::<_, Anything>(made);
                    }
                    made.push((at, maker.make_instance(at).await?));
                    progress.inc(1);
                }
            });
        }
        let mut made = Vec::with_capacity(many);
        while let Some(ended) = makers.join_next().await {
            made.extend(ended??);
        }
        made.sort_by_key(|(at, _)| *at);
        let instances = made.into_iter().map(|(_, instance)| instance).collect();
        Prepared::new(self.clone(), headers, &profile.world, &setting, instances)
    }

    fn headers(&self) -> Result<HeaderMap, Anything> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::try_from(self.address.to_string())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
        }
        Ok(headers)
    }
}

/// A connection of administration.
struct Administration {
    client: Client,
    /// Where it leads to.
    place: String,
    headers: HeaderMap,
}

impl Administration {
    fn new(http: &Http, headers: HeaderMap) -> Administration {
        let (client, place) = (Client::new(http.address), http.address.to_string());
        Administration { client, place, headers }
    }

    /// Asks for something that has to succeed.
    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, Anything> {
        let wanted = format!("{method} {path}");
        let request = self.request(method, path, body)?;
        let answer = answered("farebox", &self.place, self.client.call(request)).await?;
        success(&wanted, answer)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Anything> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Full::new(bytes.into()));
        *request.uri_mut() = Uri::try_from(path)?;
        *request.headers_mut() = self.headers.clone();
        *request.method_mut() = method;
        Ok(request)
    }

    /// Whether time there is ours to move: a storm needs that.
    async fn check_clock(&mut self) -> Result<(), Anything> {
        let request = self.request(Method::GET, "/test/clock", None)?;
        let (head, _) = answered("farebox", &self.place, self.client.call(request)).await?;
        if head.status == StatusCode::NOT_FOUND {
            return Err("a storm moves the server's time on: start it by `farebox serve \
                        --test-clock`, on a new directory"
                .into());
        }
        Ok(())
    }

    /// Moves time on, however long it takes until everything that falls due is durable.
    async fn move_clock(&mut self, ms: u64) -> Result<(), Anything> {
        let body = json!({ "advance": ms });
        let request = self.request(Method::POST, "/test/clock", Some(&body))?;
        let moved = self.client.call(request).await;
        let moved = moved.map_err(|error| named("farebox", &self.place, error))?;
        success("POST /test/clock", moved).map(drop)
    }
}

/// The body of an answer that had to be one of success.
fn success(wanted: &str, (head, body): (Parts, Bytes)) -> Result<Bytes, Anything> {
    if head.status.is_success() {
        return Ok(body);
    }
    Err(format!("{wanted}: {}: {}", head.status, String::from_utf8_lossy(&body)).into())
}

/// Makes the parts of a world.
struct Maker {
    administration: Administration,
    setting: Arc<Setting>,
    has_components: bool,
}

impl Maker {
    fn new(http: &Http, headers: HeaderMap, profile: &Profile, setting: &Arc<Setting>) -> Maker {
        Maker {
            administration: Administration::new(http, headers),
            setting: Arc::clone(setting),
            has_components: profile.mix.components > 0,
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: &Value) -> Result<Bytes, Anything> {
        self.administration.call(method, path, Some(body)).await
    }

    async fn make_tables(&mut self) -> Result<(), Anything> {
        for table in self.setting.tables() {
            let item = |(name, version, rate): &(String, String, u64)| json!({ "name": name, "version": version, "rate": rate });
            let items = table.items.iter().map(item).collect::<Vec<_>>();
            let body = json!({ "effectiveFrom": EFFECTIVE_FROM_MS, "series": table.series,
                "version": TABLE_VERSION, "items": items });
            self.send(Method::POST, "/api/v1.0/rate-tables", &body).await?;
        }
        Ok(())
    }

    async fn make_product(&mut self) -> Result<(), Anything> {
        let product = format!("/api/v1.0/products/{}", self.setting.tag());
        self.send(Method::PUT, &product, &json!({ "name": "Mesh Studio" })).await?;
        for (name, model) in COMPONENTS {
            let body = json!({ "licenseModel": model, "tokensRequired": COMPONENT_TOKENS,
                "freeTrialExpiration": null });
            self.send(Method::PUT, &format!("{product}/components/{name}"), &body).await?;
        }
        Ok(())
    }

    async fn make_instance(&mut self, at: usize) -> Result<Instance, Anything> {
        let setting = Arc::clone(&self.setting);
        let body = json!({ "shortName": "load", "accountId": setting.tag() });
        let answer = self.send(Method::POST, "/api/v1.0/instances", &body).await?;
        let id = read::text(&answer, "\"id\":\"").ok_or("an instance without an id")?.to_owned();
        for line_item in setting.line_items(at) {
            let body = json!({ "activationId": line_item.activation_id, "state": "DEPLOYED",
                "quantity": line_item.quantity, "start": 0, "end": line_item.end_ms,
                "attributes": { "elastic": true, "rateTableSeries": line_item.series } });
            let path = format!("/api/v1.0/instances/{id}/line-items");
            self.send(Method::PUT, &path, &body).await?;
        }
        if setting.spent() > 0 {
            let path = format!("/api/v1.0/instances/{id}/access-request");
            let body = json!({ "requester": requester(), "requestedItems":
                [{ "item": FILLER, "count": setting.spent() }] });
            self.send(Method::POST, &path, &body).await?;
        }
        let begin = if self.has_components { self.license(at, &id).await? } else { String::new() };
        Instance::new(id, &begin)
    }

    /// Sells components to an instance and registers a program; says how its sessions begin.
    async fn license(&mut self, at: usize, id: &str) -> Result<String, Anything> {
        let setting = Arc::clone(&self.setting);
        let (product, key) = (setting.tag(), setting.license(at));
        let pool = setting.line_items(at).last().ok_or("no line item")?;
        let path = format!("/api/v1.0/licenses/{key}");
        let body = json!({ "productGuid": product, "instanceId": id,
            "terms": [{ "start": 0, "end": pool.end_ms }], "concurrentSessions": null,
            "features": [], "sessionDuration": LEASE_S, "gracePeriod": 0 });
        self.send(Method::PUT, &path, &body).await?;
        let names = COMPONENTS.map(|(name, _)| name);
        let body = json!({ "components": names, "activationId": pool.activation_id });
        self.send(Method::PUT, &format!("{path}/entitlements/E"), &body).await?;
        let body = json!({ "product_guid": product, "license_key": key,
            "instance_identity": { "host": "pc17" }, "user_identity": { "login": "lisa" } });
        let answer = self.send(Method::POST, "/api/v3.2/auth/register_instance", &body).await?;
        let program = read::text(&answer, "\"instance_guid\":\"").ok_or("no registration")?;
        let begin = json!({ "product_guid": product, "instance_guid": program, "version": "1.0",
            "user_identity": { "login": "lisa" } });
        Ok(begin.to_string())
    }
}

fn requester() -> Value {
    json!({ "type": "user", "value": "LisaBarry" })
}

impl Instance {
    fn new(id: String, begin: &str) -> Result<Instance, Anything> {
        Ok(Instance {
            access: Uri::try_from(format!("/api/v1.0/instances/{id}/access-request"))?,
            create: json!({ "instanceId": id }).to_string().into(),
            begin: begin.to_owned().into(),
            id,
        })
    }
}

impl Prepared {
    fn new(
        http: Http,
        headers: HeaderMap,
        world: &World,
        setting: &Setting,
        instances: Vec<Instance>,
    ) -> Result<Prepared, Anything> {
        let item = |item: &Requested| json!({ "item": item.item, "version": item.version, "count": item.count });
        let items = world.requested.iter().map(item).collect::<Vec<_>>();
        let one_off = json!({ "requester": requester(), "requestedItems": items });
        let put = json!({ "requester": requester(), "requestedItems": items,
            "rollbackOnDeny": true });
        let of_components = |method: &str| Uri::try_from(format!("/api/v3.2/auth/{method}"));
        Ok(Prepared {
            http,
            headers,
            keys: world.keyed.then(|| setting.tag().to_owned()),
            instances,
            one_off: one_off.to_string().into(),
            put: put.to_string().into(),
            create: Uri::from_static("/api/v1.0/sessions"),
            begin: of_components("begin_app_session")?,
            check_out: of_components("check_out_components")?,
            check_in: of_components("check_in_components")?,
            end: of_components("end_session")?,
            parts: world.requested.len() * world.line_items.len(),
            total: Finder::new("\"totalTokensCharged\":"),
            in_use: Finder::new("\"tokens_in_use_by_session\":"),
        })
    }

    fn administration(&self) -> Administration {
        Administration::new(&self.http, self.headers.clone())
    }

    /// See [`crate::target::Prepared::used`].
    ///
    /// # Errors
    /// If a line item cannot be read.
    pub async fn used(&self) -> Result<Option<Taken>, Anything> {
        if self.http.token.is_none() {
            return Ok(None);
        }
        let (mut administration, mut taken) = (self.administration(), Taken::default());
        for instance in &self.instances {
            let path = format!("/api/v1.0/instances/{}/line-items", instance.id);
            let answer = administration.call(Method::GET, &path, None).await?;
            taken.add(read::line_items(&answer).ok_or("line items that cannot be read")?);
        }
        Ok(Some(taken))
    }

    /// See [`crate::target::Prepared::advance`].
    ///
    /// # Errors
    /// If the server's time is not ours to move.
    pub async fn advance(&self, ms: u64) -> Result<(), Anything> {
        self.administration().move_clock(ms).await
    }
}
