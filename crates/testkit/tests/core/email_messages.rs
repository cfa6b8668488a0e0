use std::time::Duration;

use chrono::TimeDelta;
use clm_core::email_messages::EmailReport;
use clm_core::mailer::MailEncryption;
use clm_core::password_resets::Forgetful;
use clm_core::roles::REQUESTER;
use clm_core_db::email_messages;
use clm_types::Time;

use crate::mail_room::{MailRoom, URL};
use crate::sign_in::visitor;

impl MailRoom {
    /// A user with a password, and an outbox with a link for them alone.
    async fn with_a_letter(&mut self) {
        let ctx = self.office.as_administrator().await;
        self.office.welcome(&ctx, "ann", REQUESTER).await;
        let pool = self.office.database.superuser().await;
        sqlx::query("DELETE FROM email_messages").execute(&pool).await.unwrap();
        let asked = self.office.core.begin_password_reset(Forgetful::Username("ann".to_owned()), visitor());
        asked.unwrap().await.unwrap();
    }

    fn now(&self) -> Time {
        self.office.core.clock.now()
    }

    async fn row(&self) -> (String, bool, Option<String>) {
        sqlx::query_as("SELECT status, content IS NULL, last_error FROM email_messages")
            .fetch_one(&self.office.database.superuser().await)
            .await
            .unwrap()
    }
}

fn report(sent: u64, retried: u64, dead: u64, waiting: u64) -> EmailReport {
    EmailReport { sent, retried, dead, waiting: Some(waiting), suppressed: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_a_server_that_is_down_and_arrives_once() {
    let mut room = MailRoom::without_server(MailEncryption::Tls).await;
    room.with_a_letter().await;
    assert_eq!(room.send().await, report(0, 1, 0, 1));
    assert_eq!(room.send().await, report(0, 0, 0, 1), "not at once again");
    let (status, erased, error) = room.row().await;
    assert_eq!((status.as_str(), erased), ("waiting", false));
    assert!(error.is_some());
    room.start_server("tls").await;
    room.office.core.clock.advance(TimeDelta::seconds(5));
    assert_eq!(room.send().await, report(1, 0, 0, 0));
    assert_eq!(room.send().await, report(0, 0, 0, 0));
    let mails = room.taken().await;
    assert_eq!(mails.len(), 1);
    let [mail] = mails.try_into().unwrap();
    assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("ann@example.com", "Your new password"));
    assert_eq!(mail.value["from"], "clm@example.com");
    assert_eq!((mail.value["secure"].as_bool(), mail.value["user"].as_str()), (Some(true), Some("clm")));
    assert!(mail.text.contains(&format!("clm password set {URL} --link-file link.txt")), "{}", mail.text);
    for header in ["From: CLM <clm@example.com>", "Auto-Submitted: auto-generated", "Message-ID: <", "Date: "]
    {
        assert!(mail.text.contains(header), "{header}: {}", mail.text);
    }
    assert_eq!(room.row().await, ("sent".to_owned(), true, None), "what it said is erased");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_what_is_wrong_with_us_is_not() {
    let mut room = MailRoom::open().await;
    for (at, code, is_final) in [
        ("rcpt", 550, true),
        ("data", 554, true),
        ("rcpt", 450, false),
        ("data", 451, false),
        ("auth", 535, false),
        ("mail", 550, false),
    ] {
        let pool = room.office.database.superuser().await;
        sqlx::query("DELETE FROM email_messages").execute(&pool).await.unwrap();
        let name = format!("user-{at}-{code}");
        let ctx = room.office.as_administrator().await;
        room.office.welcome(&ctx, &name, REQUESTER).await;
        room.fail(at, code, "no such mailbox").await;
        let expected = if is_final { report(0, 0, 1, 0) } else { report(0, 1, 0, 1) };
        assert_eq!(room.send().await, expected, "{at} {code}");
        let (status, erased, error) = room.row().await;
        assert_eq!(status == "dead", is_final, "{at} {code}");
        assert_eq!(erased, is_final, "{at} {code}");
        assert!(error.unwrap().contains(&code.to_string()), "{at} {code}");
    }
    // A server that quotes the message does not bring a link into the clear.
    room.work_again().await;
    room.mails().await;
    room.with_a_letter().await;
    room.fail("data", 554, "this is spam: clm_otl_secret").await;
    assert_eq!(room.send().await, report(0, 0, 1, 0));
    let (_, _, error) = room.row().await;
    assert_eq!(error.as_deref(), Some("the mail server answered 554 and quoted the message"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_send_a_message_once_and_that_of_a_dead_one_is_taken_over() {
    let mut room = MailRoom::open().await;
    room.with_a_letter().await;
    let reports = futures::future::join_all((0..4).map(|_| room.send())).await;
    assert_eq!(reports.iter().map(|report| report.sent).sum::<u64>(), 1, "{reports:?}");
    assert_eq!(room.taken().await.len(), 1);
    room.office.core.clock.advance(TimeDelta::minutes(1));
    let ctx = room.office.as_administrator().await;
    room.office.welcome(&ctx, "bob", REQUESTER).await;
    // A worker takes it and dies.
    let pool = room.office.database.pool("clm_core_system").await;
    let now = room.now();
    let mut conn = pool.acquire().await.unwrap();
    let claimed = email_messages::claim(&mut conn, now, now + TimeDelta::minutes(3), 8).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(room.send().await, report(0, 0, 0, 1), "it may still be at it");
    room.office.core.clock.advance(TimeDelta::minutes(3));
    assert_eq!(room.send().await, report(1, 0, 0, 0));
    // What it would note now counts no more.
    email_messages::retry(&mut conn, claimed[0].held(), now, "late", now).await.unwrap();
    assert_eq!(room.send().await, report(0, 0, 0, 0));
    assert_eq!(room.taken().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_without_the_right_certificate_or_without_encryption() {
    let mut impostor = MailRoom::without_server(MailEncryption::Tls).await;
    impostor.start_impostor().await;
    let mut stripped = MailRoom::open_with("plain", MailEncryption::StartTls).await;
    let mut other = MailRoom::open_with("starttls", MailEncryption::Tls).await;
    let mut injecting = MailRoom::open_with("injecting", MailEncryption::StartTls).await;
    let mut elsewhere =
        MailRoom::prepare(MailEncryption::Tls, "mail.example.com", Duration::from_secs(10)).await;
    elsewhere.start_server("tls").await;
    for room in [&mut impostor, &mut stripped, &mut other, &mut injecting, &mut elsewhere] {
        room.with_a_letter().await;
        assert_eq!(room.send().await, report(0, 1, 0, 1));
        assert!(room.taken().await.is_empty());
    }
    let error = elsewhere.row().await.2.unwrap();
    assert!(error.contains("not valid for name"), "{error}");
    let mut room = MailRoom::open_with("starttls", MailEncryption::StartTls).await;
    room.with_a_letter().await;
    assert_eq!(room.send().await, report(1, 0, 0, 0));
    assert_eq!(room.taken().await[0].value["secure"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_end_with_the_time_of_what_is_said_and_old_rows_are_deleted() {
    let mut room = MailRoom::without_server(MailEncryption::Tls).await;
    room.with_a_letter().await;
    let mut tries = 0;
    while room.send().await.dead == 0 {
        tries += 1;
        room.office.core.clock.advance(TimeDelta::minutes(5));
        assert!(tries < 10, "a link of half an hour is given up");
    }
    assert!(tries >= 3, "{tries}");
    assert!(room.row().await.1, "what it said is erased");
    room.office.core.clock.advance(TimeDelta::days(29));
    assert_eq!(room.office.core.purge_email_messages().await.unwrap(), 0);
    room.office.core.clock.advance(TimeDelta::days(2));
    assert_eq!(room.office.core.purge_email_messages().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn news_is_tried_for_two_days() {
    let room = MailRoom::without_server(MailEncryption::Tls).await;
    let ctx = room.office.as_administrator().await;
    room.office.welcome(&ctx, "ann", REQUESTER).await;
    for hour in 0..48 {
        assert_eq!(room.send().await, report(0, 1, 0, 1), "{hour}");
        room.office.core.clock.advance(TimeDelta::hours(1));
    }
    assert_eq!(room.send().await, report(0, 0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_perhaps_taken_each_time_is_sent_three_times_at_most() {
    let mut room = MailRoom::prepare(MailEncryption::Tls, "localhost", Duration::from_secs(1)).await;
    room.start_server("tls").await;
    room.with_a_letter().await;
    room.fail("answer", 0, "").await;
    for expected in [report(0, 1, 0, 1), report(0, 1, 0, 1), report(0, 0, 1, 0)] {
        assert_eq!(room.send().await, expected);
        room.office.core.clock.advance(TimeDelta::minutes(1));
    }
    assert_eq!(
        room.row().await,
        ("dead".to_owned(), true, Some("the mail server has it and did not answer".to_owned()))
    );
    assert_eq!(room.taken().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_sends_any_more_is_given_up_and_erased() {
    let mut room = MailRoom::without_server(MailEncryption::Tls).await;
    room.with_a_letter().await;
    room.office.core.clock.advance(TimeDelta::minutes(89));
    room.office.core.purge_email_messages().await.unwrap();
    assert_eq!(room.row().await.0, "waiting");
    room.office.core.clock.advance(TimeDelta::minutes(1));
    room.office.core.purge_email_messages().await.unwrap();
    let (status, erased, error) = room.row().await;
    assert_eq!((status.as_str(), erased), ("dead", true));
    assert!(error.is_some());
}
