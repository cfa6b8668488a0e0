//! The whole product, judged from outside: both processes, both databases, HTTP, openssl, pkilint, scim2-tester, schemathesis
//! and `clm`.
//! One installation serves all tests; each test has an organization of its own.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails fails the test")]

mod advisories;
mod answer;
mod approvals;
mod audit;
mod audit_routes;
mod audit_watch;
mod bad_csrs;
mod bad_http;
mod bad_requests;
mod bad_states;
mod cli;
mod csr;
mod early_answers;
mod floods;
mod foreign_addresses;
mod fuzz;
mod groups;
mod hostile_http;
mod house;
mod idempotency;
mod imports;
mod instances;
mod inventory;
mod issuance;
mod keys;
mod lint;
mod mass_revocations;
mod oidc;
mod openssl;
mod organizations;
mod passkeys;
mod password_resets;
mod person;
mod preconditions;
mod renewals;
mod revocations;
mod routes;
mod scim;
mod sign_in;
mod tenants;
mod validation;
mod workload_rules;
mod workload_site;
