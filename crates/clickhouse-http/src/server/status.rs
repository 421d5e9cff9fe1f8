//! Which HTTP status an exception code becomes: ClickHouse's `exceptionCodeToHTTPStatus`.

use http::StatusCode;

/// The HTTP status of ClickHouse's exception `code`.
#[must_use]
pub fn http_status(code: i32) -> StatusCode {
    match code {
        // REQUIRED_PASSWORD
        194 => StatusCode::UNAUTHORIZED,
        // UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, SET_NON_GRANTED_ROLE, AUTHENTICATION_FAILED
        192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
        // What the text says cannot be parsed or does not fit: CANNOT_PARSE_TEXT 6, _ESCAPE_SEQUENCE 25,
        // _QUOTED_STRING 26, _INPUT_ASSERTION_FAILED 27, _DATE 38, _DATETIME 41, _NUMBER 72, _UUID 376,
        // _DOMAIN_VALUE 441, _IPV4 675, _IPV6 676; THERE_IS_NO_COLUMN 8, DUPLICATE_COLUMN 15,
        // BAD_ARGUMENTS 36, UNKNOWN_ELEMENT_IN_AST 37, ILLEGAL_COLUMN 44, TYPE_MISMATCH 53, SYNTAX_ERROR 62,
        // INCORRECT_DATA 117, UNKNOWN_TYPE_OF_AST_NODE 123, TOO_DEEP_AST 167, TOO_BIG_AST 168,
        // UNEXPECTED_AST_STRUCTURE 223, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE 321, CANNOT_COMPILE_REGEXP 427.
        6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167 | 168 | 223
        | 321 | 376 | 427 | 441 | 675 | 676 => StatusCode::BAD_REQUEST,
        // Unknown things: FUNCTION 46, IDENTIFIER 47, TYPE 50, STORAGE 56, TABLE 60, AGGREGATE_FUNCTION 63,
        // FORMAT 73, TYPE_OF_QUERY 78, DATABASE 81, SETTING 115, DIRECTION_OF_SORTING 152,
        // DATABASE_ENGINE 336, ROLE 511.
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => StatusCode::NOT_FOUND,
        // QUERY_IS_TOO_LARGE
        229 => StatusCode::PAYLOAD_TOO_LARGE,
        // UNSUPPORTED_MEDIA_TYPE
        779 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        // NOT_IMPLEMENTED
        48 => StatusCode::NOT_IMPLEMENTED,
        // CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK
        76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
        // HTTP_LENGTH_REQUIRED
        381 => StatusCode::LENGTH_REQUIRED,
        // TIMEOUT_EXCEEDED
        159 => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_clickhouse() {
        for (code, status) in
            [(62, 400), (60, 404), (81, 404), (115, 404), (516, 403), (194, 401), (164, 500)]
        {
            assert_eq!(http_status(code).as_u16(), status, "{code}");
        }
    }
}
