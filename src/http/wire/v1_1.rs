//! What version 1.1 of the API does differently (spec 2.11).

use hyper::StatusCode;

use super::Dialect;

pub(super) static DIALECT: Dialect = Dialect {
    status_code,
    line_item_faults: "message",
    session_ended: StatusCode::CONFLICT,
    reset_frequency: true,
    formulas: true,
    charge_period: true,
    failures: false,
};

/// Four digits, so that none is taken for a status of HTTP.
fn status_code(code: &'static str) -> &'static str {
    match code {
        "101" => "1001",
        "102" => "1002",
        "201" => "2001",
        "301" => "3001",
        "306" => "3006",
        other => other,
    }
}
