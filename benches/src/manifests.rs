//! The same workflow as a manifest of Covalent's SDK and as one of the native API: a fan of electrons, each with a
//! parameter and a function, and the end of the workflow, which takes what all of them return.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, SmallContent};
use cov_core::ids::NodeId;
use cov_core::manifest::ManifestAsset;
use cov_core::manifest::document::{Document, Source};
use cov_core::transportable::Encoding;
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::SublatticeFormat as _;
use cov_http::StagingArchive;

use crate::objects::object;

/// An asset that is empty.
const NOTHING: &str =
    r#"{"digest_alg": null, "digest": null, "uri": "", "remote_uri": null, "size": 0}"#;

/// The manifest as the SDK registers it: two nodes for each electron, and one for the end. Every
/// electron announces a function and every parameter a value.
#[must_use]
pub fn covalent(electrons: u32) -> String {
    let announced = |content: u32| {
        let Announced { size, sha1 } = announced(content);
        let digest = sha1.map(|digest| digest.to_string()).unwrap_or_default();
        format!(
            r#"{{"digest_alg": "sha", "digest": "{digest}", "uri": "", "remote_uri": null, "size": {size}}}"#
        )
    };
    manifest(electrons, announced)
}

/// The same manifest in the archive in which a task hands over a sub-workflow, which
/// [`StagingArchive`] reads. It announces no assets, so it brings none.
///
/// # Panics
/// Never: memory takes it.
#[must_use]
pub fn staged(electrons: u32) -> Bytes {
    let manifest = manifest(electrons, |_content| NOTHING.to_owned());
    let mut header = tar::Header::new_gnu();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o600);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "manifest.json", manifest.as_bytes())
        .expect("memory takes it");
    let mut output = object(0, Encoding::Cloudpickle);
    output.object_string = STANDARD.encode(archive.into_inner().expect("memory takes it"));
    output.to_archive().into()
}

/// The document of the native API, as JSON, with the assets that [`covalent`] announces. Their
/// bytes come in no request.
///
/// # Panics
/// The manifest of the SDK cannot be read.
#[must_use]
pub fn native(electrons: u32) -> String {
    let format = StagingArchive { nodes_max: usize::MAX };
    let mut manifest = format.read(&Blob::Small(staged(electrons))).expect("it is one").manifest;
    let asset = |node, key, content| ManifestAsset {
        address: AssetAddress::of_node(NodeId(node), key),
        announced: announced(content),
    };
    let functions = (0..electrons).map(|node| asset(node, AssetKey::Function, 0));
    let values = (0..electrons).map(|content| asset(electrons + content, AssetKey::Value, content));
    manifest.assets = functions.chain(values).collect();
    let document = Document::of(&manifest, |_| Source::Elsewhere);
    serde_json::to_string(&document).expect("a document has a JSON form")
}

fn announced(content: u32) -> Announced {
    let content = SmallContent::new(format!("content {content}").into()).content;
    Announced { size: content.size, sha1: Some(content.sha1) }
}

fn manifest(electrons: u32, announced: impl Fn(u32) -> String) -> String {
    let function = announced(0);
    let tasks = (0..electrons).map(|id| node(id, "task", &function, NOTHING));
    let parameters = (0..electrons).map(|number| {
        let name = format!(":parameter:{number}");
        node(electrons + number, &name, NOTHING, &announced(number))
    });
    let end = node(2 * electrons, ":postprocess:reconstruct", NOTHING, NOTHING);
    let inputs = (0..electrons).map(|id| link(electrons + id, id, "x", r#""arg""#, "0"));
    let outputs = (0..electrons)
        .map(|id| link(id, 2 * electrons, &format!("node:{id}"), r#""kwarg""#, "null"));
    let nodes: Vec<String> = tasks.chain(parameters).chain([end]).collect();
    let links: Vec<String> = inputs.chain(outputs).collect();
    format!(
        r#"{{
            "metadata": {{
                "dispatch_id": "", "root_dispatch_id": "", "status": "NEW_OBJECT",
                "start_time": null, "end_time": null
            }},
            "assets": {{"result": {NOTHING}, "error": {NOTHING}}},
            "lattice": {{
                "metadata": {{
                    "name": "fan", "executor": "local", "executor_data": {{}},
                    "workflow_executor": "local", "workflow_executor_data": {{}},
                    "python_version": "3.11.7", "covalent_version": "0.240.0"
                }},
                "assets": {{
                    "workflow_function": {NOTHING}, "workflow_function_string": {NOTHING},
                    "doc": {NOTHING}, "inputs": {NOTHING}, "hooks": {NOTHING}
                }},
                "transport_graph": {{"nodes": [{}], "links": [{}]}}
            }}
        }}"#,
        nodes.join(", "),
        links.join(", ")
    )
}

fn node(id: u32, name: &str, function: &str, value: &str) -> String {
    format!(
        r#"{{"id": {id}, "metadata": {{
            "task_group_id": {id}, "name": "{name}", "executor": "local", "executor_data": {{}},
            "sub_dispatch_id": null, "status": "NEW_OBJECT", "start_time": null, "end_time": null
        }}, "assets": {{
            "function": {function}, "function_string": {NOTHING}, "value": {value},
            "output": {NOTHING}, "hooks": {NOTHING}, "error": {NOTHING}, "stdout": {NOTHING},
            "stderr": {NOTHING}
        }}}}"#
    )
}

fn link(source: u32, target: u32, name: &str, kind: &str, position: &str) -> String {
    format!(
        r#"{{"source": {source}, "target": {target}, "metadata": {{
            "edge_name": "{name}", "param_type": {kind}, "arg_index": {position}
        }}}}"#
    )
}
