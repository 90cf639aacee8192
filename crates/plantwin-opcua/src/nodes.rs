//! The nodes of played devices: which there are, and putting them into an address space.
//!
//! A device is played exactly where its links look for it, also where the plant file maps points
//! to node ids of the real server. Namespace indices that such a mapping needs and nobody owns
//! are filled with placeholders. A sealed device has no node per point: one variable carries its
//! envelopes, and what is in them nobody on the way can read or write. Absent: values, which the
//! outlet sets.

use std::collections::HashMap;

use opcua::{
    nodes::{AccessLevel, MethodBuilder, NodeType, VariableBuilder},
    server::{
        address_space::AddressSpace, diagnostics::NamespaceMetadata, node_manager::ServerContext,
    },
    types::{
        Argument, DataTypeId, DataValue, EUInformation, ExtensionObject, LocalizedText, NodeId,
        ObjectId, QualifiedName, Range, StatusCode, VariableTypeId, Variant,
    },
};
use plantwin_adapter::HostedDevice;
use plantwin_model::{Access, PointIx, PointSpec};

use crate::{
    NAMESPACE,
    config::{NodeRef, PathConfig},
};

/// URI of the server itself; owner of namespace index 1 by convention (Part 3, 8.2.2).
pub(crate) const SERVER_URI: &str = "urn:plantwin:server";
/// Highest namespace index a mapped node may have on a played device.
const MOST_NAMESPACES: u16 = 64;
/// Name of the variable of a sealed device, after the prefix.
pub(crate) const SEALED: &str = "Sealed";
/// Where UCUM codes come from, for `EngineeringUnits`.
const UCUM: &str = "http://unitsofmeasure.org";

/// What a node is to the node manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A point's variable.
    Point(usize, PointIx),
    /// A device's session method.
    Session(usize),
}

/// The variables in which one device reports.
#[derive(Clone, Debug)]
pub(crate) enum DeviceNodes {
    /// A variable per point, and the number of the measurement.
    Bare { points: Vec<NodeId>, sequence: NodeId },
    /// One variable for envelopes.
    Sealed(NodeId),
}

impl DeviceNodes {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &NodeId> {
        let (points, own): (&[NodeId], _) = match self {
            Self::Bare { points, sequence } => (points, sequence),
            Self::Sealed(node) => (&[], node),
        };
        points.iter().chain([own])
    }
}

/// All nodes that were made.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) devices: Vec<DeviceNodes>,
    pub(crate) roles: HashMap<NodeId, Role>,
    pub(crate) namespaces: Vec<NamespaceMetadata>,
}

/// Finds what two devices both claim, or cannot be played at all.
pub(crate) fn check(devices: &[HostedDevice], configs: &[PathConfig]) -> Result<(), String> {
    let mut taken: HashMap<(String, NodeRef), &str> = HashMap::new();
    for (device, config) in devices.iter().zip(configs) {
        let own = [
            NodeRef::Named(config.prefix.clone()),
            config.own(if device.sealed { SEALED } else { "sequence" }),
            config.own("session"),
        ];
        let points: &[NodeRef] = if device.sealed { &[] } else { &config.points };
        for node in points.iter().chain(&own) {
            let namespace = match node {
                NodeRef::Exact(id) if id.namespace == 0 => {
                    return Err(format!("{}: {id} belongs to OPC UA itself", device.device));
                }
                NodeRef::Exact(id) if id.namespace >= MOST_NAMESPACES => {
                    return Err(format!("{}: the namespace of {id} is too high", device.device));
                }
                NodeRef::Exact(_) => String::new(),
                NodeRef::Named(_) => config.namespace.clone(),
            };
            let name = device.device.as_str();
            if let Some(other) = taken.insert((namespace, node.clone()), name) {
                return Err(format!("{other} and {name} both are at the node {node}"));
            }
        }
    }
    Ok(())
}

/// Makes all nodes.
pub(crate) fn build(
    devices: &[HostedDevice],
    configs: &[PathConfig],
    context: &ServerContext,
    space: &mut AddressSpace,
) -> Layout {
    let mut layout = Layout::default();
    let mut register = |uri: &str| -> u16 {
        let index = context.type_tree.write().namespaces_mut().add_namespace(uri);
        space.add_namespace(uri, index);
        if layout.namespaces.iter().all(|n| n.namespace_index != index) {
            layout.namespaces.push(NamespaceMetadata {
                namespace_uri: uri.to_owned(),
                namespace_index: index,
                ..Default::default()
            });
        }
        index
    };
    register(SERVER_URI);
    let ours = register(NAMESPACE);
    let named: Vec<u16> = configs.iter().map(|c| register(&c.namespace)).collect();
    let bare = devices.iter().zip(configs).filter(|(device, _)| !device.sealed);
    let highest = bare.flat_map(|(_, c)| &c.points).filter_map(|n| match n {
        NodeRef::Exact(id) => Some(id.namespace),
        NodeRef::Named(_) => None,
    });
    let highest = highest.max().unwrap_or(0);
    let mut last = named.iter().copied().max().unwrap_or(ours).max(ours);
    while last < highest {
        last = register(&format!("{NAMESPACE}:{}", last + 1));
    }

    for (ix, ((device, config), namespace)) in devices.iter().zip(configs).zip(named).enumerate() {
        let node = |name: &NodeRef| name.resolve(Some(namespace)).unwrap_or_else(NodeId::null);
        let folder = NodeId::new(namespace, config.prefix.as_str());
        let title = device.device.as_str();
        let browse = |name: &str| QualifiedName::new(ours, name);
        space.add_folder(&folder, browse(title), title, &ObjectId::ObjectsFolder.into());
        let own = |space: &mut AddressSpace, name: &str, about: &str, kind: DataTypeId| {
            let id = node(&config.own(name));
            VariableBuilder::new(&id, browse(name), name)
                .description(about)
                .data_type(kind)
                .value(Variant::Empty)
                .has_type_definition(VariableTypeId::BaseDataVariableType)
                .component_of(folder.clone())
                .insert(space);
            reset(space, &id);
            id
        };
        let nodes = if device.sealed {
            let about = "sealed envelopes, each on its own; nothing without the session's keys";
            DeviceNodes::Sealed(own(space, SEALED, about, DataTypeId::ByteString))
        } else {
            let mut points = Vec::with_capacity(device.points.len());
            for (at, (point, place)) in device.points.iter().zip(&config.points).enumerate() {
                let id = node(place);
                let base = format!("{}.{}", config.prefix, point.name);
                variable(space, &folder, &id, ours, &base, point);
                layout.roles.insert(id.clone(), Role::Point(ix, PointIx(at as u16)));
                points.push(id);
            }
            let about = "number of the last measurement";
            let sequence = own(space, "sequence", about, DataTypeId::UInt64);
            DeviceNodes::Bare { points, sequence }
        };
        let session = node(&config.own("session"));
        method(space, &folder, &session, ours);
        layout.roles.insert(session, Role::Session(ix));
        layout.devices.push(nodes);
    }
    layout
}

/// A status without a value. The library would forget the status if there were no variant.
pub(crate) fn nothing(status: StatusCode) -> DataValue {
    DataValue { value: Some(Variant::Empty), status: Some(status), ..Default::default() }
}

/// Takes the value of a variable away until the first measurement.
fn reset(space: &mut AddressSpace, node: &NodeId) {
    if let Some(NodeType::Variable(v)) = space.find_mut(node) {
        v.set_data_value(nothing(StatusCode::BadWaitingForInitialData));
    }
}

fn variable(
    space: &mut AddressSpace,
    folder: &NodeId,
    id: &NodeId,
    ours: u16,
    base: &str,
    point: &PointSpec,
) {
    let mut access = AccessLevel::CURRENT_READ;
    if point.access == Access::ReadWrite {
        access |= AccessLevel::CURRENT_WRITE;
    }
    let unit = point.unit.code();
    VariableBuilder::new(id, QualifiedName::new(ours, &*point.name), &*point.name)
        .description(format!("{} [{unit}]", point.title).as_str())
        .data_type(DataTypeId::Double)
        .value(point.start)
        .access_level(access)
        .user_access_level(access)
        .has_type_definition(VariableTypeId::AnalogItemType)
        .component_of(folder.clone())
        .insert(space);
    reset(space, id);
    let range = Range { low: point.range.0, high: point.range.1 };
    let units = EUInformation {
        namespace_uri: UCUM.into(),
        // Part 8, 5.6.4.3: -1 where the unit has no number in its namespace.
        unit_id: -1,
        display_name: LocalizedText::new("", unit),
        description: LocalizedText::new("", unit),
    };
    let mut property = |name: &str, kind: DataTypeId, value: ExtensionObject| {
        let property = NodeId::new(ours, format!("{base}.{name}"));
        VariableBuilder::new(&property, QualifiedName::new(0, name), name)
            .data_type(kind)
            .value(Variant::ExtensionObject(value))
            .has_type_definition(VariableTypeId::PropertyType)
            .property_of(id.clone())
            .insert(space);
    };
    property("EURange", DataTypeId::Range, ExtensionObject::from_message(range));
    property("EngineeringUnits", DataTypeId::EUInformation, ExtensionObject::from_message(units));
}

fn method(space: &mut AddressSpace, folder: &NodeId, id: &NodeId, ours: u16) {
    let argument = |name: &str| Argument {
        name: name.into(),
        data_type: DataTypeId::ByteString.into(),
        value_rank: -1,
        array_dimensions: None,
        description: LocalizedText::new("", "session bytes, at most 4096"),
    };
    let part = |name: &str| NodeId::new(id.namespace, format!("{}.{name}", id.identifier));
    MethodBuilder::new(id, QualifiedName::new(ours, "session"), "session")
        .component_of(folder.clone())
        .input_args(space, &part("in"), &[argument("request")])
        .output_args(space, &part("out"), &[argument("answer")])
        .executable(true)
        .user_executable(true)
        .insert(space);
}
