//! Makes a world in a broker of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use farebox::auth::{Principal, Scope};
use farebox::broker::{BeginSession, Broker, LicenseChange, Options, ProductChange, Registration};
use farebox::config::Sessions;
use farebox::domain::components::{
    Component, Identity, IdentityValue, Installation, LicenseModel, LicenseTerms, Pool, Term, User,
    Who,
};
use farebox::domain::ids::{InstallationId, Requester, Text, UserId};
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;
use farebox::env::{Clock, IdSource, SystemClock, SystemIds, TestClock};
use indicatif::ProgressBar;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Prepared;
use crate::Anything;
use crate::profile::Profile;
use crate::target::setting::{
    COMPONENT_TOKENS, COMPONENTS, EFFECTIVE_FROM_MS, FILLER, LEASE_S, Setting, TABLE_VERSION,
};

/// Tasks that make instances at the same time: they share syncs.
const MAKERS: usize = 256;

/// See [`crate::target::Target::prepare`].
///
/// # Errors
/// If the broker does not do as it is told.
pub async fn prepare(profile: &Profile, progress: &ProgressBar) -> Result<Prepared, Anything> {
    let (world, home) = (&profile.world, tempfile::tempdir()?);
    if world.keyed {
        return Err("the library knows no idempotency keys: ask over HTTP".into());
    }
    let mut options = Options::directory(home.path());
    options.settings.sessions = Sessions { max: usize::MAX, per_instance_max: usize::MAX };
    let clock = world.storm.then(|| Arc::new(TestClock::new(SystemClock::new().system())));
    if let Some(clock) = &clock {
        options.clock = Arc::clone(clock) as _;
    }
    let broker = Broker::open(options).await?.broker;
    let setting = Arc::new(Setting::new(world));
    publish(&broker, &setting).await?;
    if profile.mix.components > 0 {
        save_product(&broker, &setting).await?;
    }
    let (scopes, begins) = make_instances(&broker, profile, &setting, progress).await?;
    let requested = world.requested.iter();
    let requested = requested
        .map(|item| requested_item(&item.item, &item.version, item.count))
        .collect::<Result<_, _>>()?;
    let [given_back, spent] = COMPONENTS.map(|(name, _)| name.parse::<Text>());
    let given_back = given_back?;
    Ok(Prepared {
        broker,
        scopes,
        begins,
        request: request(requested)?,
        components: vec![given_back.clone(), spent?],
        returned: vec![given_back],
        parts: world.requested.len() * world.line_items.len(),
        clock,
        runtime: Handle::current(),
        home,
    })
}

async fn publish(broker: &Broker, setting: &Setting) -> Result<(), Anything> {
    for table in setting.tables() {
        let item = |(name, version, rate): &(String, String, u64)| {
            let (name, version, rate) =
                (name.parse()?, version.parse()?, rate.to_string().parse()?);
            Ok::<_, Anything>(RatedItem { name, version, rate })
        };
        let table = NewRateTable {
            series: table.series.parse()?,
            version: TABLE_VERSION.parse()?,
            effective_from: Timestamp::from_ms(EFFECTIVE_FROM_MS),
            items: table.items.iter().map(item).collect::<Result<_, _>>()?,
        };
        broker.publish_rate_table(table).await?;
    }
    Ok(())
}

async fn save_product(broker: &Broker, setting: &Setting) -> Result<(), Anything> {
    let product: Text = setting.tag().parse()?;
    let save = ProductChange::Save { guid: product.clone(), name: "Mesh Studio".parse()? };
    broker.change_product(save).await?;
    let models = [LicenseModel::Token, LicenseModel::Consumable];
    for ((name, _), model) in COMPONENTS.into_iter().zip(models) {
        let (name, price) = (name.parse()?, COMPONENT_TOKENS.to_string().parse()?);
        let component = Component { name, place: 0, model, price, trial_until: None };
        let product = product.clone();
        broker.change_product(ProductChange::SaveComponent { product, component }).await?;
    }
    Ok(())
}

async fn make_instances(
    broker: &Broker,
    profile: &Profile,
    setting: &Arc<Setting>,
    progress: &ProgressBar,
) -> Result<(Vec<Scope>, Vec<BeginSession>), Anything> {
    let (many, has_components) = (profile.world.instances, profile.mix.components > 0);
    progress.set_length(u64::try_from(many)?);
    let next = Arc::new(AtomicUsize::new(0));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS.min(many) {
        let (broker, setting) = (broker.clone(), Arc::clone(setting));
        let (next, progress) = (Arc::clone(&next), progress.clone());
        makers.spawn(async move {
            let mut made = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= many {
                    return Ok::<_, Anything>(made);
                }
                let scope = make_instance(&broker, &setting, at).await?;
                let begin = match has_components {
                    true => Some(license(&broker, scope, &setting, at).await?),
                    false => None,
                };
                made.push((at, scope, begin));
                progress.inc(1);
            }
        });
    }
    let mut made = Vec::with_capacity(many);
    while let Some(ended) = makers.join_next().await {
        made.extend(ended??);
    }
    made.sort_by_key(|(at, ..)| *at);
    let (scopes, begins): (_, Vec<_>) =
        made.into_iter().map(|(_, scope, begin)| (scope, begin)).unzip();
    Ok((scopes, begins.into_iter().flatten().collect()))
}

async fn make_instance(broker: &Broker, setting: &Setting, at: usize) -> Result<Scope, Anything> {
    let account = setting.tag().parse()?;
    let instance = broker.create_instance("load".parse()?, account).await?.value;
    let scope = Principal::administration().scope(instance.id)?;
    for line_item in setting.line_items(at) {
        let (start, end) = (Timestamp::default(), Timestamp::from_ms(line_item.end_ms));
        let activation_id = line_item.activation_id.parse()?;
        let terms = Terms::new(activation_id, line_item.quantity, start, end);
        let terms = Terms { series: line_item.series.parse()?, ..terms };
        broker.map_line_item(scope, terms).await?;
    }
    if setting.spent() > 0 {
        let items = vec![requested_item(FILLER, "", u64::try_from(setting.spent())?)?];
        broker.access(scope, request(items)?).await?;
    }
    Ok(scope)
}

/// Sells components to an instance and registers a program; says how its sessions begin.
async fn license(
    broker: &Broker,
    scope: Scope,
    setting: &Setting,
    at: usize,
) -> Result<BeginSession, Anything> {
    let product: Text = setting.tag().parse()?;
    let key: Text = setting.license(at).parse()?;
    let pool = setting.line_items(at).last().ok_or("no line item")?;
    let term = Term { start: Timestamp::default(), end: Timestamp::from_ms(pool.end_ms) };
    let terms = LicenseTerms {
        product: product.clone(),
        terms: vec![term],
        concurrent_sessions: None,
        features: Vec::new(),
        session_duration_s: LEASE_S,
        grace_period_s: 0,
    };
    broker.change_license(scope, LicenseChange::Save { key: key.clone(), terms }).await?;
    let components = COMPONENTS.iter().map(|(name, _)| name.parse()).collect::<Result<_, _>>()?;
    let save = LicenseChange::SaveEntitlement {
        license: key.clone(),
        id: "E".parse()?,
        components,
        pool: Pool::LineItem { activation_id: pool.activation_id.parse()? },
    };
    broker.change_license(scope, save).await?;
    let user = User {
        id: UserId::from_u128(SystemIds.fresh()),
        identity: vec![("login".parse()?, "lisa".parse()?)],
    };
    let host = IdentityValue::new(vec!["pc17".parse()?]);
    let installation = Installation {
        id: InstallationId::from_u128(SystemIds.fresh()),
        identity: Identity {
            version: 1,
            mismatches_max: 0,
            pairs: [("host".parse()?, host)].into(),
        },
        user: user.id,
    };
    let registration = Registration { license: key, installation, user };
    let caller = Principal::administration();
    let registered = broker.register_installation(&caller, &product, registration).await?.value;
    Ok(BeginSession {
        product,
        installation: registered.installation,
        identity: None,
        who: Who::Id(registered.user),
        version: "1.0".parse()?,
        duration_s: None,
    })
}

/// So many of an item.
///
/// # Errors
/// If one of them cannot be.
pub fn requested_item(name: &str, version: &str, count: u64) -> Result<RequestedItem, Anything> {
    let (name, version, count) = (name.parse()?, version.parse()?, count.to_string().parse()?);
    let (metadata, variables) = (None, Variables::default());
    Ok(RequestedItem { name, version, count, metadata, variables })
}

/// The tutorial's user wants these.
///
/// # Errors
/// None that could happen: the texts are constants.
pub fn request(items: Vec<RequestedItem>) -> Result<Arc<AccessRequest>, Anything> {
    let (kind, value) = ("user".parse()?, "LisaBarry".parse()?);
    let requester = Requester { kind, value, dictionary: Dictionary::default() };
    Ok(Arc::new(AccessRequest { requester, items }))
}
