//! What a request asks of the policy.

use plantwin_model::{
    Access, Action, AlarmId, CommandSpec, DeviceId, DeviceIx, PlantSpec, PointIx, Request, Role,
};

use super::Object;

/// A request, resolved against the plant: names found, arguments complete.
#[derive(Clone, PartialEq, Debug)]
pub struct Errand {
    /// What is done.
    pub action: Action,
    /// An action whose right suffices as well.
    pub or: Option<Action>,
    /// To what, and the value that is written; at least one.
    pub touches: Vec<(Object, Option<f64>)>,
    /// Least role, whatever the rules say.
    pub least: Role,
    /// The device, unless it is about the plant itself.
    pub device: Option<DeviceIx>,
    /// What it comes to, for people and the audit: `tank1.valve = 3.2`. The same for requests
    /// that do the same.
    pub text: String,
}

impl Errand {
    /// Reloading the policy and the like.
    pub fn on_plant(action: Action, least: Role, text: impl Into<String>) -> Self {
        let touches = vec![(Object::Plant, None)];
        Self { action, or: None, touches, least, device: None, text: text.into() }
    }

    /// What is written, for a command or a write.
    pub fn writes(&self) -> Vec<(PointIx, f64)> {
        let write = |touch: &(Object, Option<f64>)| match *touch {
            (Object::Point(_, point), Some(value)) => Some((point, value)),
            _ => None,
        };
        self.touches.iter().filter_map(write).collect()
    }
}

/// Resolves a request; `find` knows devices by name. What cannot be resolved comes back as a
/// lowercase fragment.
pub fn errand_of(
    plant: &PlantSpec,
    find: &dyn Fn(&DeviceId) -> Option<DeviceIx>,
    request: &Request,
) -> Result<Errand, String> {
    let known = |device: &DeviceId| {
        let ix = find(device).filter(|ix| ix.index() < plant.devices.len());
        ix.ok_or_else(|| format!("there is no device {device}"))
    };
    let whole = |device: &DeviceId, action, or, least, verb: &str| {
        let ix = known(device)?;
        let touches = vec![(Object::Device(ix), None)];
        Ok(Errand {
            action,
            or,
            touches,
            least,
            device: Some(ix),
            text: format!("{verb} {device}"),
        })
    };
    let configure =
        |device: &DeviceId, verb: &str| whole(device, Action::Configure, None, Role::Viewer, verb);
    match request {
        Request::Command { device, command, args } => {
            let ix = known(device)?;
            let kind = &plant.devices[ix.index()].kind;
            let spec = kind
                .commands
                .iter()
                .find(|c| *c.name == **command)
                .ok_or_else(|| format!("{device} has no command {command}"))?;
            let writes = writes_of(plant, ix, spec, args)?;
            Ok(writing(plant, ix, Action::Command, spec.role, &writes))
        }
        Request::Write { device, point, value } => {
            let ix = known(device)?;
            let kind = &plant.devices[ix.index()].kind;
            let place =
                kind.point(point).ok_or_else(|| format!("{device} has no point {point}"))?;
            if kind.points[place.index()].access != Access::ReadWrite {
                return Err(format!("{device}.{point} cannot be written"));
            }
            Ok(writing(plant, ix, Action::Write, Role::Viewer, &[(place, *value)]))
        }
        Request::Acknowledge { alarm } => acknowledge(plant, find, alarm),
        Request::Restart { device } => configure(device, "restart"),
        Request::Retry { device, letter } => {
            configure(device, &format!("retry letter {letter} of"))
        }
        Request::Drop { device, letter } => configure(device, &format!("drop letter {letter} of")),
        Request::Quarantine { device, .. } => {
            let (action, or) = (Action::Configure, Some(Action::Admin));
            whole(device, action, or, Role::Operator, "quarantine")
        }
        Request::Release { device } => {
            whole(device, Action::Admin, None, Role::Security, "release")
        }
    }
}

fn acknowledge(
    plant: &PlantSpec,
    find: &dyn Fn(&DeviceId) -> Option<DeviceIx>,
    alarm: &AlarmId,
) -> Result<Errand, String> {
    let (device, name) = alarm
        .as_str()
        .split_once('.')
        .ok_or_else(|| format!("an alarm is named DEVICE.ALARM, not {alarm}"))?;
    let found = find(&device.into()).filter(|ix| ix.index() < plant.devices.len());
    let object = match found {
        Some(ix) => {
            let alarms = &plant.devices[ix.index()].kind.alarms;
            let watched = alarms.iter().find(|a| *a.name == *name).map(|a| a.point);
            watched.map_or(Object::Device(ix), |point| Object::Point(ix, point))
        }
        None if device == plant.name => Object::Plant,
        None => return Err(format!("there is no device {device}")),
    };
    Ok(Errand {
        action: Action::Ack,
        or: None,
        touches: vec![(object, None)],
        least: Role::Viewer,
        device: found,
        text: format!("acknowledge {alarm}"),
    })
}

fn writing(
    plant: &PlantSpec,
    ix: DeviceIx,
    action: Action,
    least: Role,
    writes: &[(PointIx, f64)],
) -> Errand {
    let device = &plant.devices[ix.index()];
    let named = |(point, value): &(PointIx, f64)| {
        format!("{}.{} = {value}", device.id, device.kind.points[point.index()].name)
    };
    Errand {
        action,
        or: None,
        touches: writes.iter().map(|(p, value)| (Object::Point(ix, *p), Some(*value))).collect(),
        least,
        device: Some(ix),
        text: writes.iter().map(named).collect::<Vec<_>>().join(", "),
    }
}

fn writes_of(
    plant: &PlantSpec,
    device: DeviceIx,
    command: &CommandSpec,
    args: &[(String, f64)],
) -> Result<Vec<(PointIx, f64)>, String> {
    let points = &plant.devices[device.index()].kind.points;
    let name = &command.name;
    let mut writes = command.set.clone();
    for &ix in &command.args {
        let point = &points[ix.index()].name;
        let (_, value) = args
            .iter()
            .find(|(n, _)| n.as_str() == &**point)
            .ok_or_else(|| format!("{name} needs a value for {point}"))?;
        writes.push((ix, *value));
    }
    let odd =
        args.iter().find(|(n, _)| !command.args.iter().any(|a| *points[a.index()].name == **n));
    match odd {
        Some((odd, _)) => Err(format!("{name} takes no value for {odd}")),
        None => Ok(writes),
    }
}
