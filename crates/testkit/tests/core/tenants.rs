//! One connection of the application role, used by two organizations in turn.

use std::time::Duration;

use clm_core::policies::{PolicyDraft, PolicyQuery};
use clm_types::ErrorCode;
use serde_json::json;

use crate::office::{FIRST, Office, OfficeKind, refused};

fn draft(code: &str) -> PolicyDraft {
    PolicyDraft {
        code: code.to_owned(),
        name: code.to_owned(),
        rules: json!({"profiles": ["tls-server"], "key_algorithms": ["ecdsa-p256"], "key_sources": ["csr"],
            "names": {"dns_suffixes": ["example.com"]}, "max_names": 1, "max_validity_seconds": 86_400,
            "default_validity_seconds": 86_400}),
        compliance_frameworks: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_two_tenants_in_turn_and_mixes_nothing() {
    let office = Office::open_as(OfficeKind { connections: 1, ..OfficeKind::default() }).await;
    let other = office.new_organization("other").await;
    let (ours, theirs) = (office.as_administrator().await, office.as_administrator_of(other).await);
    let codes = async |ctx: &clm_core::Ctx| {
        let seen = office.core.list_policies(ctx, &PolicyQuery::default(), FIRST).await.unwrap().items;
        assert!(seen.iter().all(|policy| policy.organization_id == ctx.organization_id.0));
        seen.into_iter().map(|policy| policy.policy_code).collect::<Vec<_>>()
    };
    for ctx in [&ours, &theirs] {
        office.core.create_policy(ctx, &draft("taken")).await.unwrap();
    }
    for step in 0..40 {
        let (one, two) = if step % 2 == 0 { (&ours, &theirs) } else { (&theirs, &ours) };
        // A caller who hangs up somewhere; whether it came to its end is all the same.
        let new = draft(&format!("dropped-{}-{step}", one.organization_id));
        let work = office.core.create_policy(one, &new);
        let _ = tokio::time::timeout(Duration::from_micros(step * 150), work).await;
        let seen = codes(two).await;
        assert!(seen.contains(&"taken".to_owned()), "{seen:?}");
        assert!(!seen.iter().any(|code| code.contains(&one.organization_id.to_string())), "{seen:?}");
        // And an error in the database.
        let attempt = office.core.create_policy(two, &draft("taken")).await;
        assert_eq!(refused(attempt), ErrorCode::AlreadyExists);
        assert!(codes(one).await.contains(&"taken".to_owned()));
    }
}
