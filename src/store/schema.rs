//! The tables as diesel sees them, alike in both databases: Postgres' schema `bedgate` is the name under which
//! SQLite's file is attached.

use super::columns::EventIdSql;

diesel::table! {
    /// Virtual keys.
    bedgate.keys (hash) {
        hash -> Text,
        key_name -> Text,
        key_alias -> Nullable<Text>,
        team_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        models -> Text,
        allowed_routes -> Text,
        tags -> Text,
        metadata -> Text,
        expires_at -> Nullable<BigInt>,
        blocked -> Bool,
        spend_carried_nano -> BigInt,
        created_at -> BigInt,
        created_by -> Nullable<Text>,
        updated_at -> BigInt,
        updated_by -> Nullable<Text>,
        revision -> BigInt,
        limits -> Text,
        budget_id -> Nullable<Text>,
        payer -> Nullable<Text>,
        spend_since -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// Teams, customers and named budgets.
    bedgate.limit_holders (kind, id) {
        kind -> Text,
        id -> Text,
        alias -> Nullable<Text>,
        blocked -> Bool,
        models -> Text,
        limits -> Text,
        budget_id -> Nullable<Text>,
        metadata -> Text,
        deleted -> Bool,
        created_at -> BigInt,
        created_by -> Nullable<Text>,
        updated_at -> BigInt,
        updated_by -> Nullable<Text>,
        revision -> BigInt,
    }
}

diesel::table! {
    /// AWS credential pairs of keys.
    bedgate.key_credentials (access_key_id) {
        access_key_id -> Text,
        key_hash -> Text,
        sealed -> Text,
        sealed_by -> Text,
        created_at -> BigInt,
        created_by -> Nullable<Text>,
        revoked_at -> Nullable<BigInt>,
        revision -> BigInt,
    }
}

diesel::table! {
    /// Who made the responses that AWS keeps.
    bedgate.response_owners (response_id) {
        response_id -> Text,
        payer -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    /// Deleted keys as they were.
    bedgate.deleted_keys (revision) {
        revision -> BigInt,
        hash -> Text,
        key_name -> Text,
        key_alias -> Nullable<Text>,
        team_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        contents -> Text,
        deleted_at -> BigInt,
        deleted_by -> Nullable<Text>,
        payer -> Nullable<Text>,
    }
}

diesel::table! {
    /// Counters of changes.
    bedgate.revisions (name) {
        name -> Text,
        value -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::EventIdSql;

    /// One row a request.
    bedgate.spend_events (id) {
        id -> EventIdSql,
        started_at -> BigInt,
        payer -> Text,
        team_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        end_user -> Nullable<Text>,
        tags -> Text,
        session_id -> Nullable<Text>,
        call_id -> Nullable<Text>,
        service -> Text,
        operation -> Text,
        requested_model -> Nullable<Text>,
        deployment -> Text,
        model_id -> Nullable<Text>,
        region -> Text,
        estimate_nano -> Nullable<BigInt>,
        outcome -> Text,
        status -> Integer,
        attempts -> Text,
        input_tokens -> Nullable<BigInt>,
        output_tokens -> Nullable<BigInt>,
        cache_read_tokens -> Nullable<BigInt>,
        cache_write_5m_tokens -> Nullable<BigInt>,
        cache_write_1h_tokens -> Nullable<BigInt>,
        reasoning_tokens -> Nullable<BigInt>,
        units -> Nullable<Text>,
        tier -> Nullable<Text>,
        latency_optimised -> Nullable<Bool>,
        cost_basis -> Text,
        price -> Nullable<Text>,
        cost_nano -> Nullable<BigInt>,
        latency_us -> BigInt,
        time_to_first_byte_us -> Nullable<BigInt>,
        aws_request_id -> Nullable<Text>,
    }
}

diesel::table! {
    /// Sums of spend per scope, name and day.
    bedgate.spend_rollups (scope, name, day) {
        scope -> Text,
        name -> Text,
        day -> Integer,
        requests -> BigInt,
        incomplete_requests -> BigInt,
        uncosted_requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cache_read_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        cost_nano -> BigInt,
        uncosted_nano -> BigInt,
    }
}

diesel::table! {
    /// Who changed what, and when.
    bedgate.audit_log (id) {
        id -> BigInt,
        at -> BigInt,
        actor -> Text,
        action -> Text,
        object -> Text,
        before -> Nullable<Text>,
        after -> Nullable<Text>,
    }
}
