//! Two tenants side by side: random use of every route by both, each aiming at what is the other's, and nothing of one in any
//! answer, count, error, metric, export, notification or audit page of the other.
//!
//! `CLM_TENANT_SEED` chooses other steps, `CLM_TENANT_STEPS` makes it longer. The same seed draws the same numbers, but both tenants
//! run at once and ids differ: it makes a failure likely to come again, not certain.

mod aims;
mod bodies;
mod leaks;
mod tenant;
mod walk;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clm_core_web::routes::{ROUTES, Route};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{ISSUING, house};
use crate::person::{Person, fresh_key};
use tenant::{Call, Tenant};

/// Steps of each tenant unless told.
const STEPS: u64 = 100;
const SEED: u64 = 1;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

async fn two_tenants() -> [Tenant; 2] {
    let one = fresh_key();
    let canaries = ["azalea", "bergamot"].map(|word| format!("{word}-{}", &one[..8]));
    let [first, second] = canaries.map(Tenant::open);
    [first.await, second.await]
}

/// What everybody may see: built-in roles, authorities with their certificates, and the installation's administrator, who works
/// in both organizations.
async fn shared(tenants: &[Tenant; 2]) -> BTreeSet<String> {
    let [tenant, _] = tenants;
    let admin = &tenant.office.admin;
    let me = admin.get("/api/v1/me").await.expect(200);
    let mut texts = vec![text(&me, "user_id"), text(&me, "api_key_id")];
    for path in ["/api/v1/authorities", "/api/v1/transport-key"] {
        texts.push(admin.get(path).await.text());
    }
    // Roles that are held everywhere.
    for assignment in tenant.items("/api/v1/role-assignments").await {
        if assignment["organization_id"].is_null() {
            texts.push(assignment.to_string());
        }
    }
    for role in tenant.items("/api/v1/roles").await {
        if role["built_in"] == true {
            texts.push(text(&role, "id"));
        }
    }
    leaks::shared_marks(&texts)
}

/// One tenant's random steps: among its own, and at the other's.
async fn wander(tenant: &Tenant, other: &Tenant, mut rng: StdRng, steps: u64) {
    let aims = aims::all();
    for _ in 0..steps {
        if rng.random_bool(0.75) {
            walk::step(tenant, &mut rng).await;
            continue;
        }
        let (theirs, own) = (aims::things_of(other, &mut rng).await, aims::things_of(tenant, &mut rng).await);
        aims::take(tenant, aims.choose(&mut rng).unwrap(), &theirs, &own, &mut rng).await;
    }
}

/// Every route once more, with whatever there is.
async fn every_route(tenant: &Tenant, rng: &mut StdRng) {
    let ends = |route: &&Route| route.method == "DELETE";
    let (last, first): (Vec<&Route>, Vec<&Route>) = walk::of_tenants().partition(ends);
    for route in first.into_iter().chain(last) {
        walk::take(tenant, route, rng).await;
    }
}

/// Everything that a tenant can see of itself and that does not change by being looked at.
async fn picture(tenant: &Tenant) -> Vec<String> {
    let mut seen = Vec::new();
    for list in
        ["users", "groups", "roles", "policies", "workflows", "requests", "certificates", "mass-revocations"]
    {
        for item in tenant.items(&format!("/api/v1/{list}")).await {
            seen.push(item.to_string());
        }
    }
    for assignment in tenant.items("/api/v1/role-assignments").await {
        seen.push(assignment.to_string());
    }
    for key in tenant.items("/api/v1/api-keys").await {
        seen.push(format!("{} {} {}", key["id"], key["revoked_at"], key["user_id"]));
    }
    seen
}

/// Waits for what was still under way when it was answered for.
async fn settle(tenant: &Tenant) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let requests = tenant.items("/api/v1/requests").await;
        let known = tenant.things("/api/v1/requests");
        for request in requests.iter().filter(|one| known.contains(&text(one, "id"))) {
            walk::note_request(tenant, request);
        }
        let mass = tenant.items("/api/v1/mass-revocations").await;
        let is_moving = |one: &Value| one["status"] == "executing" || one["status"] == "running";
        if !requests.iter().chain(&mass).any(is_moving) {
            return;
        }
        assert!(Instant::now() < end, "{requests:#?} {mass:#?}");
    }
}

/// Lists go on from where another's page ended, and in another's organization: with nothing but one's own.
async fn borrow(tenant: &Tenant, other: &Tenant) {
    let get = async |person: &Person, path: String| {
        let call = Call { method: "GET", path, body: None, idempotency_key: fresh_key(), own: false };
        tenant.call(person, call).await
    };
    for list in
        ["users", "groups", "roles", "policies", "workflows", "requests", "certificates", "api-keys", "audit"]
    {
        let list = format!("/api/v1/{list}");
        let page = other.get(&format!("{list}?limit=2")).await.expect(200);
        if let Some(cursor) = page["next_cursor"].as_str() {
            get(&tenant.boss, format!("{list}?cursor={cursor}")).await.expect(200);
        }
        let nobody = uuid::Uuid::from_u128(uuid::Uuid::max().as_u128() >> 1).to_string();
        let [theirs, none] = [&other.office.organization, &nobody]
            .map(|organization| Person { organization: Some(organization.clone()), ..tenant.boss.clone() });
        let nothing = aims::Things::new();
        let answers = [get(&theirs, list.clone()).await, get(&none, list.clone()).await];
        let [one, two] = answers.map(|answer| aims::plain(&answer, &nothing));
        if one != two || !one.starts_with("404") {
            tenant.complain(format!("{list} in another's organization: {one}\n{two}"));
        }
    }
}

/// A name or address that somebody elsewhere has is refused as one of somebody here is.
async fn take_names(tenant: &Tenant, other: &Tenant) {
    let post = async |username: &str, email: &str| {
        let body = Some(json!({"username": username, "email": format!("{email}@example.org")}));
        let call = Call {
            method: "POST",
            path: "/api/v1/users".to_owned(),
            body,
            idempotency_key: fresh_key(),
            own: false,
        };
        let answer = tenant.call(&tenant.boss, call).await;
        aims::plain(
            &answer,
            &aims::Things::from([("{name}", username.to_owned()), ("{mail}", email.to_owned())]),
        )
    };
    let free = fresh_key();
    let [ours, theirs] = [&tenant.canary, &other.canary].map(|canary| format!("carol-{canary}"));
    for (one, two) in [
        (post(&ours, &free).await, post(&theirs, &free).await),
        (post(&free, &ours).await, post(&free, &theirs).await),
    ] {
        // The flowers' names are not as long as each other.
        let without_length =
            |text: &str| text.lines().filter(|line| !line.starts_with("content-length")).collect::<String>();
        if without_length(&one) != without_length(&two) || !one.starts_with("409") {
            tenant.complain(format!("a name that is taken: {one}\n{two}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_side_by_side_find_nothing_of_each_other() {
    let (seed, steps) = (setting("CLM_TENANT_SEED", SEED), setting("CLM_TENANT_STEPS", STEPS));
    println!("CLM_TENANT_SEED={seed} CLM_TENANT_STEPS={steps}");
    let tenants = two_tenants().await;
    let [azalea, bergamot] = &tenants;
    let rng = |number| StdRng::seed_from_u64(seed.wrapping_mul(4).wrapping_add(number));
    tokio::join!(wander(azalea, bergamot, rng(0), steps), wander(bergamot, azalea, rng(1), steps));
    have_something(azalea).await;
    have_something(bergamot).await;
    let mut taken = BTreeSet::new();
    for (tenant, other, number) in [(azalea, bergamot, 2), (bergamot, azalea, 3)] {
        let mut rng = rng(number);
        every_route(tenant, &mut rng).await;
        settle(other).await;
        let (theirs, own) = (aims::things_of(other, &mut rng).await, aims::things_of(tenant, &mut rng).await);
        let before = picture(other).await;
        for (number, aim) in aims::all().iter().enumerate() {
            if aims::take(tenant, aim, &theirs, &own, &mut rng).await {
                taken.insert(number);
            }
        }
        borrow(tenant, other).await;
        take_names(tenant, other).await;
        if picture(other).await != before {
            tenant.complain("something of the other has changed".to_owned());
        }
    }
    let shared = shared(&tenants).await;
    for (tenant, other) in [(azalea, bergamot), (bergamot, azalea)] {
        settle(tenant).await;
        tenant.check_counts().await;
        plans_are_of(tenant).await;
        audit_is_of(tenant).await;
        let theirs = leaks::own_marks(other, &shared);
        assert!(theirs.len() > 100, "{}", theirs.len());
        for leak in leaks::find(tenant, &other.canary, &theirs) {
            tenant.complain(format!("was told of the other: {leak}"));
        }
    }
    nothing_is_measured(&tenants).await;
    let left: Vec<_> =
        aims::all().into_iter().enumerate().filter(|(number, _)| !taken.contains(number)).collect();
    assert!(left.is_empty(), "nobody had what these name: {left:#?}");
    aims_hit(azalea, &mut rng(4)).await;
    let wrong: Vec<String> = tenants.iter().flat_map(Tenant::complaints).collect();
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n\n"));
    walked(&tenants);
}

/// Each aim tells one's own from nothing, so that it would tell another's.
async fn aims_hit(tenant: &Tenant, rng: &mut StdRng) {
    let mut aims = aims::all();
    aims.sort_by_key(aims::Aim::order);
    have_something(tenant).await;
    for aim in &aims {
        let mut own = aims::things_of(tenant, rng).await;
        if aim.revokes() {
            let certificate = tenant.office.alice.issue(&tenant::request_of(&tenant.canary)).await;
            own.insert("{certificate}", text(&certificate, "id"));
            own.insert("{san}", text(&json!({"san": certificate["sans"][0]}), "san"));
        }
        let name = format!("{}-{}", tenant.canary, fresh_key());
        let user = json!({"username": name, "email": format!("{name}@example.org")});
        for (thing, list, body) in
            [("{group}", "/api/v1/groups", json!({"display_name": name})), ("{user}", "/api/v1/users", user)]
        {
            if aim.ends(thing) {
                own.insert(thing, text(&tenant.boss.post(list, &body).await.expect(201), "id"));
            }
        }
        if !aims::check(tenant, aim, &own, rng).await {
            tenant.complain(format!("there was nothing to check {aim:?} with"));
        }
    }
}

/// Random steps may have ended whatever there was of a sort.
async fn have_something(tenant: &Tenant) {
    let group = json!({"display_name": format!("{}-{}", tenant.canary, fresh_key())});
    let group = tenant.boss.post("/api/v1/groups", &group).await.expect(201);
    tenant.add("/api/v1/groups", &text(&group, "id"));
    let active = tenant.items("/api/v1/certificates?status=active").await;
    let id = match active.first() {
        Some(one) => one["id"].clone(),
        None => tenant.office.alice.issue(&tenant::request_of(&tenant.canary)).await["id"].clone(),
    };
    let body = json!({"selection": {"certificate_ids": [id]}, "reason": "superseded"});
    let mass = tenant.boss.post("/api/v1/mass-revocations", &body).await.expect(201);
    tenant.add("/api/v1/mass-revocations", &text(&mass, "id"));
}

/// Each entry that a tenant reads or exports is its own.
async fn audit_is_of(tenant: &Tenant) {
    let organization = &tenant.office.organization;
    let entries = tenant.items("/api/v1/audit").await;
    assert!(entries.len() > 50);
    for foreign in entries.iter().filter(|one| one["organization_id"] != organization.as_str()) {
        tenant.complain(format!("an audit entry: {foreign}"));
    }
    let end = Instant::now() + Duration::from_secs(20);
    // Refusals are written beside the calls, a moment later.
    while let Some((exported, stored)) = export(tenant).await {
        if exported == stored {
            return;
        }
        if Instant::now() > end {
            return tenant.complain(format!("{exported} audit entries are exported of {stored}"));
        }
    }
}

/// A mass revocation of everything, and of everything of the authority that all share, is of the tenant's certificates alone.
async fn plans_are_of(tenant: &Tenant) {
    let mut good = tenant.items("/api/v1/certificates?status=active").await.len();
    good += tenant.items("/api/v1/certificates?status=on_hold").await.len();
    let authority = text(&tenant.office.authority(ISSUING).await, "id");
    for selection in [json!({"everything": true}), json!({"authority_id": authority})] {
        let call = Call {
            method: "POST",
            path: "/api/v1/mass-revocations/plan".to_owned(),
            body: Some(json!({"selection": selection, "reason": "superseded"})),
            idempotency_key: fresh_key(),
            own: true,
        };
        let planned = tenant.call(&tenant.boss, call).await;
        // Nothing to be revoked is a refusal.
        let planned =
            if planned.status == 200 { planned.expect(200)["certificates"].as_u64() } else { Some(0) };
        if planned != u64::try_from(good).ok() {
            tenant.complain(format!("{selection}: {planned:?} of {good}"));
        }
    }
}

/// How many entries an export has, and how many there are until its last; none when one is another's.
async fn export(tenant: &Tenant) -> Option<(usize, usize)> {
    let organization = tenant.office.organization.as_str();
    let export = tenant.get(&format!("/api/v1/audit/export{}", walk::until_now())).await;
    if export.status != 200 {
        tenant.complain(export.text());
        return None;
    }
    let lines: Vec<Value> = export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, entries) = lines.split_last().unwrap();
    assert_eq!(end["manifest"]["organization_id"], organization);
    if let Some(foreign) = entries.iter().find(|one| one["organization_id"] != organization) {
        tenant.complain(format!("an exported audit entry: {foreign}"));
        return None;
    }
    let last = entries.last().unwrap()["id"].as_str().unwrap();
    let sql = format!(
        "SELECT count(*) FROM clm.audit_log WHERE organization_id = '{organization}' AND id <= '{last}'"
    );
    let stored = house().await.installation.databases.core.psql("clm_core_db", &sql).unwrap();
    Some((entries.len(), stored.trim().parse().unwrap()))
}

/// Metrics and health of both services have no tenant in them.
async fn nothing_is_measured(tenants: &[Tenant; 2]) {
    let installation = &house().await.installation;
    for service in [&installation.core, &installation.secure] {
        for path in ["metrics", "health", "healthz", "readyz", "livez"] {
            let url = format!("{}/{path}", service.admin_url());
            let text = installation.client().get(url).send().await.unwrap().text().await.unwrap();
            for tenant in tenants {
                for word in [&tenant.canary, &tenant.office.organization, &tenant.boss.id] {
                    assert!(!text.contains(word.as_str()), "{path}: {word}: {text}");
                }
            }
        }
    }
}

/// No route was left out but those that nobody calls with credentials.
fn walked(tenants: &[Tenant; 2]) {
    let calls: Vec<String> = tenants.iter().flat_map(Tenant::exchanges).map(|one| one.call).collect();
    let is_called = |route: &&Route| {
        let (begins, ends) = route.path.split_once("{id}").unwrap_or((route.path, ""));
        let (begins, ends) = begins.split_once("{name}").unwrap_or((begins, ends));
        calls.iter().any(|call| {
            let path = call.strip_prefix(&format!("{} ", route.method)).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            path.starts_with(begins) && path.ends_with(ends)
        })
    };
    let left: Vec<_> = walk::of_tenants().filter(|route| !is_called(route)).map(|route| route.path).collect();
    assert!(ROUTES.len() > 100 && left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_of_its_tenant() {
    let tenants = two_tenants().await;
    let [azalea, bergamot] = &tenants;
    let key = fresh_key();
    let post = async |tenant: &Tenant, path: &str, body: &Value| {
        let (path, body) = (path.to_owned(), Some(body.clone()));
        let call = Call { method: "POST", path, body, idempotency_key: key.clone(), own: true };
        tenant.call(&tenant.boss, call).await.expect(201)
    };
    let request = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:same.example.org"]});
    for (path, body) in [("/api/v1/groups", json!({"display_name": "Same"})), ("/api/v1/requests", request)] {
        let (ours, theirs) = tokio::join!(post(azalea, path, &body), post(bergamot, path, &body));
        assert_ne!(ours["id"], theirs["id"]);
        assert_eq!(post(azalea, path, &body).await["id"], ours["id"]);
        assert_eq!(post(bergamot, path, &body).await["id"], theirs["id"]);
    }
}
