//! The names of assets in Covalent's addresses, and what the names of nodes mean. Parses what
//! comes from outside into closed types; no path of a file is ever made from it.

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};

/// The path under which assets are fetched and stored.
pub(super) const FILES: &str = "/api/v0/files/";

/// The name of the edge that passes no value.
pub(super) const WAITING_EDGE: &str = "!waiting_edge";

/// The object name of an asset, without the folder of its node. `None` for assets that clients
/// do not see.
pub(super) fn object_name(address: AssetAddress) -> Option<&'static str> {
    let name = match (address.node.is_some(), address.key) {
        (true, AssetKey::Function) | (false, AssetKey::WorkflowFunction) => "function.tobj",
        (true, AssetKey::FunctionString) | (false, AssetKey::WorkflowFunctionString) => {
            "function_string.txt"
        }
        (true, AssetKey::Value) => "value.tobj",
        (true, AssetKey::Output) | (false, AssetKey::Result) => "results.tobj",
        (_, AssetKey::Hooks) => "hooks.json",
        (_, AssetKey::Error) => "error.log",
        (true, AssetKey::Stdout) => "stdout.log",
        (true, AssetKey::Stderr) => "stderr.log",
        (false, AssetKey::Doc) => "function_docstring.txt",
        (false, AssetKey::Inputs) => "inputs.tobj",
        _ => return None,
    };
    Some(name)
}

/// The dispatch and asset that an object key names: `{dispatch}/{file}` or
/// `{dispatch}/node_{n}/{file}`. `None` for every other text: nothing is decoded, and no known
/// name needs it.
pub(super) fn parse_object_key(key: &str) -> Option<(DispatchId, AssetAddress)> {
    let mut parts = key.split('/');
    let dispatch = parts.next()?.parse().ok()?;
    let (node, file) = match (parts.next()?, parts.next(), parts.next()) {
        (file, None, None) => (None, file),
        (folder, Some(file), None) => (Some(parse_folder(folder)?), file),
        _ => return None,
    };
    let keys = AssetKey::ALL.into_iter().map(|key| AssetAddress { node, key });
    let address = keys.into_iter().find(|address| object_name(*address) == Some(file))?;
    Some((dispatch, address))
}

fn parse_folder(folder: &str) -> Option<NodeId> {
    let digits = folder.strip_prefix("node_")?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && all_digits).then(|| digits.parse().ok().map(NodeId)).flatten()
}

/// What kind of file an object name promises.
pub(super) fn content_type(address: AssetAddress) -> &'static str {
    match object_name(address).and_then(|name| name.rsplit_once('.')) {
        Some((_, "json")) => "application/json",
        Some((_, "txt" | "log")) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What a node's name says about it. The prefixes are the SDK's; a name that only resembles them
/// is a task.
pub(super) fn node_kind(name: &str) -> NodeKind {
    if name.starts_with(":parameter:") {
        NodeKind::Parameter
    } else if name.starts_with(":sublattice:") {
        NodeKind::Sublattice
    } else if name.starts_with(":postprocess:") {
        NodeKind::Postprocess
    } else if name.starts_with(':') && takes_apart(name) {
        NodeKind::Helper
    } else {
        NodeKind::Task
    }
}

fn takes_apart(name: &str) -> bool {
    let unpacks = || {
        let index = name.strip_suffix(']').and_then(|rest| rest.rsplit_once("()["));
        index.is_some_and(|(_, digits)| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    name.ends_with(".__getitem__") || name.ends_with(".__getattr__") || unpacks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_asset_has_one_object_key() {
        let id: DispatchId = "d-1".parse().unwrap();
        for node in [None, Some(NodeId(0)), Some(NodeId(170))] {
            let folder = node.map(|node| format!("node_{node}/")).unwrap_or_default();
            for key in AssetKey::ALL {
                let address = AssetAddress { node, key };
                let Some(name) = object_name(address) else { continue };
                let parsed = parse_object_key(&format!("d-1/{folder}{name}"));
                assert_eq!(parsed, Some((id.clone(), address)));
            }
        }
    }

    #[test]
    fn other_object_keys_name_nothing() {
        for key in [
            "",
            "d",
            "d/",
            "/d/hooks.json",
            "d//hooks.json",
            "../hooks.json",
            "d/../hooks.json",
            "d/node_0/../hooks.json",
            "d/node_0/node_1/hooks.json",
            "d/node_/hooks.json",
            "d/node_-1/hooks.json",
            "d/node_+1/hooks.json",
            "d/node_00/hooks.json",
            "d/node_1x/hooks.json",
            "d/node_99999999999/hooks.json",
            "d2/x/hooks.json",
            "d%2Fhooks.json",
            "d/hooks.json%00",
            "d/hooks.json\0",
            "d/hooks.json/",
            "d/HOOKS.json",
            "d/node_0/extra.bin",
            "d/value.tobj",
            "d/node_0/inputs.tobj",
            "d /hooks.json",
            "d/sublattice_manifest",
            "d/node_0/name",
        ] {
            assert_eq!(parse_object_key(key), None, "{key:?}");
        }
    }

    #[test]
    fn names_tell_kinds() {
        for (name, kind) in [
            ("add", NodeKind::Task),
            (":parameter:1", NodeKind::Parameter),
            (":parameter:x.__getitem__", NodeKind::Parameter),
            (":sublattice:inner", NodeKind::Sublattice),
            (":postprocess:", NodeKind::Postprocess),
            (":postprocess:reconstruct", NodeKind::Postprocess),
            (":electron_list:", NodeKind::Task),
            (":electron_dict:", NodeKind::Task),
            (":f.__getitem__", NodeKind::Helper),
            ("::f.__getitem__.__getattr__", NodeKind::Helper),
            (":f()[12]", NodeKind::Helper),
            (":f()[x]", NodeKind::Task),
            ("f()[1]", NodeKind::Task),
            ("x_+_2", NodeKind::Task),
        ] {
            assert_eq!(node_kind(name), kind, "{name}");
        }
    }
}
