use clm_types::ErrorCode;
use futures::future::join_all;

use crate::house::{House, generated, refused};

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_do_not_exceed_the_licence() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "first").await;
    house.tamper_with_core("UPDATE organizations SET license_max_certificates = 3").await;
    house.core.forget_everything();
    let names = ["a", "b", "c", "d", "e"];
    let asked = join_all(names.map(|name| house.submit(&service, generated(name)))).await;
    assert_eq!(asked.iter().filter(|one| one.is_ok()).count(), 2);
    for attempt in asked.into_iter().filter(Result::is_err) {
        assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);
    }
    let active = "SELECT count(*) FROM certificate_metadata WHERE status = 'active'";
    assert_eq!(house.count_in_core(active).await, 3);
}
