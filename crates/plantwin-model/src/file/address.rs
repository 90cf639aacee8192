//! Addresses that two devices claim.
//!
//! Absent: what an address is (each protocol says what its paths occupy).

use std::collections::HashMap;

use super::{Catalog, device::Devices, parse::Scope, quantity::quoted};

/// Reports every address that a device shares with an earlier one.
pub(super) fn check(scope: &Scope, devices: &Devices, catalog: &Catalog) {
    let mut taken: HashMap<(&str, String), usize> = HashMap::new();
    for (ix, device) in devices.list.iter().enumerate() {
        let Some(spec) = &device.spec else { continue };
        for path in &spec.paths {
            let Some(schema) = catalog.protocols.iter().find(|p| p.name == path.protocol) else {
                continue;
            };
            for address in (schema.addresses)(&device.name, path) {
                let other = *taken.entry((path.protocol, address.clone())).or_insert(ix);
                if other == ix {
                    continue;
                }
                let other = &devices.list[other];
                let message = format!(
                    "{} address `{}` is already that of device `{}` (line {})",
                    path.protocol,
                    quoted(&address),
                    quoted(&other.name),
                    scope.report.line(&scope.file, other.span.start)
                );
                scope.error(path.span, "address-used-twice", message);
            }
        }
    }
}
