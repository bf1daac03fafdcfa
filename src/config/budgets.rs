//! `bedgate_settings.budgets`, and the gateway's own budget in `litellm_settings`.

use super::section::{Context, Section};
use super::setting::Setting;
use super::tree::Scalar;
use crate::domain::period::Period;
use crate::domain::{Enforcement, NanoUsd, Zone};

/// How budgets are held, and the budget of the whole gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetsConfig {
    /// `litellm_settings.max_budget`, in dollars: the most that all callers together may spend.
    pub max_budget: Option<NanoUsd>,
    /// `litellm_settings.budget_duration`: how often that starts anew, such as `30d`; never, if it is not set.
    pub budget_duration: Option<String>,
    /// `enforcement`: `standard` lets the last request overrun a budget, `hard` none. For budgets that do not say
    /// otherwise (`budget_enforcement` of a key, team, customer or budget).
    pub enforcement: Enforcement,
    /// `estimate_without_bound`, in dollars: taken as the cost of a request that nothing bounds (images, documents,
    /// agents) while it is in flight, where its end is never seen, and for budgets where its cost stays unknown. Without
    /// it hard budgets refuse such requests, and standard ones reserve nothing for them.
    pub estimate: Option<NanoUsd>,
    /// `litellm_settings.max_end_user_budget`, in dollars: the budget of each customer that has none of its own; it never
    /// starts anew.
    pub max_end_user_budget: Option<NanoUsd>,
    /// `litellm_settings.max_end_user_budget_id`: the named budget (`/budget/new`) whose limits hold for each such
    /// customer.
    pub max_end_user_budget_id: Option<String>,
    /// `litellm_settings.timezone`: where the days of budgets begin; UTC, if it is not set.
    pub zone: Zone,
    /// `general_settings.global_max_parallel_requests`: requests of all callers at the same time, on each gateway.
    pub global_max_parallel: Option<u64>,
    /// `general_settings.user_header_name`, lower case: a further header that names the customer.
    pub user_header_name: Option<String>,
}

impl BudgetsConfig {
    pub(super) fn read(
        mut own: Section<'_>,
        litellm: &mut Section<'_>,
        (user_header_name, global_max_parallel): (Option<String>, Option<u64>),
        ctx: &mut Context,
    ) -> Self {
        let budgets = Self {
            max_budget: litellm.get::<Dollars>("max_budget", ctx).map(|dollars| dollars.0),
            budget_duration: litellm.get::<BudgetDuration>("budget_duration", ctx).map(|duration| duration.0),
            enforcement: own.get("enforcement", ctx).unwrap_or_default(),
            estimate: own.get::<Dollars>("estimate_without_bound", ctx).map(|dollars| dollars.0),
            max_end_user_budget: litellm.get::<Dollars>("max_end_user_budget", ctx).map(|dollars| dollars.0),
            max_end_user_budget_id: litellm.get("max_end_user_budget_id", ctx),
            zone: litellm.get("timezone", ctx).unwrap_or_default(),
            global_max_parallel,
            user_header_name,
        };
        own.refuse_rest(ctx);
        budgets
    }
}

/// An amount of money in dollars, from 0.
pub(super) struct Dollars(pub(super) NanoUsd);

impl Setting for Dollars {
    const EXPECTED: &'static str = "an amount in dollars, from 0, such as 100 or 0.25";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let (Scalar::Number(text) | Scalar::Text(text)) = scalar else { return None };
        let amount = text.trim().parse().ok().filter(|amount: &f64| *amount >= 0.0)?;
        NanoUsd::from_usd(amount).map(Self)
    }
}

/// How often a budget starts anew.
pub(super) struct BudgetDuration(pub(super) String);

impl Setting for BudgetDuration {
    const EXPECTED: &'static str = "a duration such as 1h, 1d, 7d, 30d or 1mo";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let text = String::parse(scalar)?;
        Period::parse(&text).map(|_| Self(text))
    }
}

impl Setting for Zone {
    const EXPECTED: &'static str = "a time zone of the IANA database such as UTC or Europe/Berlin";

    fn parse(scalar: &Scalar) -> Option<Self> {
        Self::named(&String::parse(scalar)?)
    }
}

impl Setting for Enforcement {
    const EXPECTED: &'static str = "standard or hard";

    fn parse(scalar: &Scalar) -> Option<Self> {
        Self::from_name(&String::parse(scalar)?)
    }
}
