//! The rules of a plant file that has none.

use plantwin_model::{Action, Actions, GrantSpec, ObjectGlob, Role, Span, Who};

/// Everybody with a role reads; operators and engineers write, command, acknowledge, restart and
/// handle letters as well; security also releases quarantines and reloads the policy. All of it
/// everywhere and without limits. Devices act on nothing.
pub fn builtin_grants() -> Vec<GrantSpec> {
    let acts = [Action::Read, Action::Write, Action::Command, Action::Ack, Action::Configure];
    let acts: Actions = acts.into_iter().collect();
    let grant = |roles: &[Role], actions| GrantSpec {
        who: roles.iter().map(|r| Who::Role(*r)).collect(),
        actions,
        on: vec![ObjectGlob::all()],
        range: None,
        rate: None,
        hours: None,
        two_persons: false,
        line: 0,
        span: Span::default(),
    };
    vec![
        grant(&[Role::Viewer], Actions::NONE.with(Action::Read)),
        grant(&[Role::Operator, Role::Engineer], acts),
        grant(&[Role::Security], acts.with(Action::Admin)),
    ]
}
