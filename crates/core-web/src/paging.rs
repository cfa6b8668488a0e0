//! Cursors and the `Link` to the next page (RFC 8288).

use axum::Json;
use axum::http::header::LINK;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clm_core::page::{Page, PageRequest};
use clm_types::{ErrorCode, Refusal};
use serde::Serialize;
use uuid::Uuid;

use crate::failure::Failure;

/// Items per page unless told.
const USUAL_LIMIT: u32 = 50;

/// The page that the query asks for.
pub(crate) fn request(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, Failure> {
    let limit = limit.unwrap_or(USUAL_LIMIT);
    if limit == 0 || limit > clm_core::page::LARGEST_PAGE {
        let detail = format!("limit is {limit}; 1 to {} are taken", clm_core::page::LARGEST_PAGE);
        return Err(Failure::new(ErrorCode::InvalidRequest, detail));
    }
    let before = cursor.map(decode).transpose()?;
    Ok(PageRequest { before, limit })
}

fn decode(cursor: &str) -> Result<Uuid, Failure> {
    let octets = URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = octets.and_then(|octets| Uuid::from_slice(&octets).ok());
    id.ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidRequest, "the cursor is not one that this server gave")
            .hint("read the list from its beginning")
            .into()
    })
}

fn encode(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// The page as JSON, with the address of the next one.
pub(crate) fn answer<T, U: Serialize>(uri: &Uri, page: Page<T>, turn: impl FnMut(T) -> U) -> Response {
    let next_cursor = page.next.map(encode);
    let link = next_cursor.as_deref().map(|cursor| next_link(uri, cursor));
    let items: Vec<U> = page.items.into_iter().map(turn).collect();
    let mut response = Json(clm_api::Page { items, next_cursor }).into_response();
    if let Some(value) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(LINK, value);
    }
    response
}

/// As [`answer`], for what may turn out to be unreadable.
pub(crate) fn try_answer<T, U: Serialize>(
    uri: &Uri,
    page: Page<T>,
    turn: impl FnMut(T) -> Result<U, Failure>,
) -> Result<Response, Failure> {
    let items = page.items.into_iter().map(turn).collect::<Result<Vec<U>, _>>()?;
    let page = Page { items, next: page.next };
    Ok(answer(uri, page, |view| view))
}

fn next_link(uri: &Uri, cursor: &str) -> String {
    let kept = uri.query().unwrap_or_default().split('&');
    let mut query: Vec<&str> = kept.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let id = Uuid::from_u128(7);
        let page = request(None, Some(&encode(id))).unwrap();
        assert_eq!((page.before, page.limit), (Some(id), USUAL_LIMIT));
    }

    #[test]
    fn foreign_cursors_and_limits_are_refused() {
        for (limit, cursor) in [(Some(0), None), (Some(201), None), (None, Some("x")), (None, Some(""))] {
            let failure = request(limit, cursor).unwrap_err();
            assert_eq!(failure.0.code, ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn the_link_keeps_the_filters_and_replaces_the_cursor() {
        let uri: Uri = "/api/v1/certificates?status=active&cursor=old&limit=2".parse().unwrap();
        let link = next_link(&uri, "new");
        assert_eq!(link, "</api/v1/certificates?status=active&limit=2&cursor=new>; rel=\"next\"");
    }
}
