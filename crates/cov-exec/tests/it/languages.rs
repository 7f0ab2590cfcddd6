//! Python functions that are called by name, and values that come from other languages or go to
//! them.

use cov_core::array::{Array, to_npy};
use cov_core::error::Fault;
use cov_core::ids::NodeId;
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use cov_exec::{Payload, Runtime, Task, WorkDir};
use serde_json::{Value, json};

use crate::support::*;

fn object(encoding: Encoding, data: Vec<u8>, name: &str) -> Payload {
    let header = Header {
        py_version: String::new(),
        cloudpickle_version: String::new(),
        attrs: Attributes { doc: None, name: name.into() },
        encoding,
    };
    let object = TransportableObject { header, object_string: String::new(), data: data.into() };
    Payload::Bytes(object.to_archive().into())
}

fn plain(value: &Value) -> Payload {
    object(Encoding::Json, serde_json::to_vec(value).unwrap(), "")
}

/// A task that calls what this document names, with these values.
fn named(document: &Value, values: Vec<Payload>) -> Task {
    let mut task = call("builtins len", &[]);
    task.function = plain(document);
    task.args = (1..).map(NodeId).zip(values).collect();
    task
}

fn json_of(object: &TransportableObject) -> Value {
    object.to_json().unwrap()
}

#[tokio::test]
async fn a_function_is_found_in_the_folders_that_are_named_and_read_again_when_it_changed() {
    let mut bench = Bench::new(1);
    for (folder, source) in [
        ("one", "import beside\ndef answer(): return [1, beside.VALUE]"),
        ("two", "def answer(): return 2"),
    ] {
        std::fs::create_dir(bench.path(folder)).unwrap();
        std::fs::write(bench.path(folder).join("steps.py"), source).unwrap();
    }
    std::fs::write(bench.path("one/beside.py"), "VALUE = 7").unwrap();
    let in_folder = |bench: &Bench, folder: &str| {
        let path = bench.path(folder);
        named(&json!({"python": "steps:answer", "output": "json", "path": [path]}), vec![])
    };
    // One runner runs them all.
    for (folder, expected) in [("one", json!([1, 7])), ("two", json!(2)), ("one", json!([1, 7]))] {
        let task = in_folder(&bench, folder);
        assert_eq!(json_of(&completed(bench.run(task).await)), expected);
    }
    std::fs::write(bench.path("one/beside.py"), "VALUE = 'changed'").unwrap();
    let task = in_folder(&bench, "one");
    assert_eq!(json_of(&completed(bench.run(task).await)), json!([1, "changed"]));
    // The folder of a task is searched, too; and nothing is left behind for tasks that name none.
    let mut task = named(&json!({"python": "steps:answer", "output": "json"}), vec![]);
    task.work_dir = Some(WorkDir { path: bench.path("two"), unique: false });
    assert_eq!(json_of(&completed(bench.run(task).await)), json!(2));
    let ending = bench.run(named(&json!({"python": "steps:answer"}), vec![])).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Task);
    assert!(message.starts_with("there is no module `steps` on the path of "), "{message}");
    assert!(!message.contains("Traceback"), "{message}");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_near_names() {
    let mut bench = Bench::new(1);
    for (name, said) in [
        ("json:dmps", "has no `dmps`; near names are `dumps`"),
        ("jsno:dumps", "there is no module `jsno` on the path of "),
        ("json.decodr:scan", "near names are `json.decoder`"),
        ("json:__name__", "`json:__name__` is no function but a `str`"),
        ("json", "`json` names no function; write `module:function`"),
    ] {
        let ending = bench.run(named(&json!({"python": name}), vec![])).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task, "{message}");
        assert!(message.contains(said), "{message}");
    }
    let ending = bench.run(named(&json!({"electron": "sums::add"}), vec![])).await;
    let said = "node 0 calls `sums::add`, which is written in Rust, and its executor runs Python";
    assert_eq!(failed(&ending).1.trim_end(), said);
    // What goes wrong within a module is the module's own error.
    std::fs::write(bench.path("broken.py"), "import nothing_of_that_name").unwrap();
    let folder = bench.folder.path();
    let ending = bench.run(named(&json!({"python": "broken:f", "path": [folder]}), vec![])).await;
    let message = failed(&ending).1;
    assert!(message.contains("broken.py\", line 1") && message.contains("Traceback"), "{message}");
}

#[tokio::test]
async fn arguments_are_put_together_from_values_in_any_encoding() {
    let mut bench = Bench::new(1);
    let source = "def show(*args, **kwargs): return repr((args, kwargs))\nclass Of:\n    @staticmethod\n    def two(): return 2";
    std::fs::write(bench.path("steps.py"), source).unwrap();
    let document = json!({
        "python": "steps:show",
        "output": "json",
        "path": [bench.folder.path()],
        "args": [
            "value",
            {"tuple": ["value", {"values": 2}, "unit"]},
            {"map": [["value", {"present": "value"}]]},
            {"list": ["absent", {"list": []}]},
        ],
    });
    let values = vec![
        archive(pickled_value("1 + 1j")),
        plain(&json!({"a": null})),
        plain(&json!(1.5)),
        archive(pickled_text("text")),
        plain(&json!("key")),
        plain(&json!([true])),
    ];
    let mut task = named(&document, values);
    task.kwargs.push(("word".into(), NodeId(9), plain(&json!("last"))));
    let shown = json_of(&completed(bench.run(task).await));
    let expected = "(((1+1j), ({'a': None}, [1.5, 'text'], None), {'key': [True]}, [None, []]), {'word': 'last'})";
    assert_eq!(shown, expected);
    let document =
        json!({"python": "steps:Of.two", "output": "cloudpickle", "path": [bench.folder.path()]});
    let object = completed(bench.run(named(&document, vec![])).await);
    assert_eq!(
        (object.header.encoding, object.decode::<u8>().unwrap()),
        (Encoding::Cloudpickle, 2)
    );
}

#[tokio::test]
async fn results_of_python_alone_are_put_together_in_python() {
    let mut bench = Bench::new(1);
    let document = json!({
        "electron": "cov::collect",
        "output": "json",
        "args": [{"tuple": [{"values": 2}, {"present": "value"}]}],
    });
    let values = vec![plain(&json!(1)), archive(pickled_text("text")), plain(&json!({}))];
    let object = completed(bench.run(named(&document, values)).await);
    assert_eq!(json_of(&object), json!([[1, "text"], {}]));
    let document = json!({"electron": "cov::collect", "output": "json"});
    let object = completed(bench.run(named(&document, vec![plain(&json!([2]))])).await);
    assert_eq!(json_of(&object), json!([2]));
}

#[tokio::test]
async fn data_in_base64_is_read_whatever_its_encoding() {
    let mut bench = Bench::new(1);
    let header = r#"{"encoding": "json"}"#;
    let offset = (16 + header.len() as u64).to_be_bytes();
    let archive = [&offset[..], &offset[..], header.as_bytes(), b"WzEsIDJd"].concat();
    let archive = Payload::Bytes(archive.into());
    let document = json!({"python": "builtins:sum", "output": "json"});
    let object = completed(bench.run(named(&document, vec![archive.clone()])).await);
    assert_eq!(object.to_json::<u8>().unwrap(), 3);
    let collected =
        Task { runtime: Runtime::Command, ..named(&json!({"collect": "list"}), vec![archive]) };
    let object = completed(bench.run(collected).await);
    assert_eq!(&object.data[..], b"[[1, 2]]");
}

#[tokio::test]
async fn plain_data_comes_back_as_json() {
    let mut bench = Bench::new(1);
    let source = "
import dataclasses, enum
@dataclasses.dataclass
class Point:
    x: float
    tags: list
class Level(enum.IntEnum):
    HIGH = 3
def all(): return [None, True, 2**70, 0.1, 'ä', b'\\x00\\xff', (1,), {4}, {'k': {5: Point(1.0, ['t'])}}, Level.HIGH]
";
    std::fs::write(bench.path("steps.py"), source).unwrap();
    let document = json!({"python": "steps:all", "output": "json", "path": [bench.folder.path()]});
    let object = completed(bench.run(named(&document, vec![])).await);
    assert_eq!(object.header.encoding, Encoding::Json);
    let text = String::from_utf8(object.data.to_vec()).unwrap();
    assert_eq!(
        text,
        r#"[null,true,1180591620717411303424,0.1,"ä",[0,255],[1],[4],{"k":{"5":{"x":1.0,"tags":["t"]}}},3]"#
    );
}

#[tokio::test]
async fn what_cannot_leave_names_node_type_and_encodings() {
    let mut bench = Bench::new(1);
    let document = |name: &str, output: &str| json!({"python": name, "output": output});
    for (name, output, said) in [
        ("datetime:datetime.now", "json", "it holds a `datetime.datetime`; json holds None"),
        ("threading:Lock", "json", "it holds a `_thread.lock`"),
        ("os:getcwd", "array", "its items are `<U"),
        ("os:getcwd", "bincode", "which Python does not write"),
    ] {
        let ending = bench.run(named(&document(name, output), vec![])).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task);
        let begin = format!("the output of node 0 (`{name}`), a `");
        assert!(message.starts_with(&begin), "{message}");
        assert!(message.contains(&format!("cannot be encoded as {output}")), "{message}");
        assert!(message.contains(said) && message.contains("cloudpickle"), "{message}");
    }
    let nan =
        named(&json!({"python": "builtins:float", "output": "json"}), vec![plain(&json!("nan"))]);
    let ending = bench.run(nan).await;
    assert!(failed(&ending).1.contains("a number that is infinite or not a number"), "{ending:?}");
}

#[tokio::test]
async fn what_cannot_come_in_names_node_type_and_encodings() {
    let mut bench = Bench::new(1);
    let bytes = object(Encoding::Bincode, vec![1, 2], "alloc::vec::Vec<u8>");
    for function in
        [plain(&json!({"python": "builtins:len"})), archive(pickled_name("builtins len"))]
    {
        let mut task = named(&json!({}), vec![bytes.clone()]);
        task.function = function;
        let ending = bench.run(task).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task);
        assert_eq!(
            message.trim_end(),
            "the output of node 1, a `alloc::vec::Vec<u8>` encoded as bincode, cannot be read by \
             Python, which reads cloudpickle, json and array; a Rust electron says \
             `output = \"json\"` for it"
        );
    }
}

#[tokio::test]
async fn arrays_of_numbers_come_and_go_without_a_pickle() {
    if !has_module("numpy") {
        assert!(std::env::var_os("CI").is_none(), "COV_TEST_PYTHON lacks numpy");
        return;
    }
    let mut bench = Bench::new(1);
    let source = "
import numpy
def double(array):
    assert isinstance(array, numpy.ndarray) and array.dtype == 'float64', repr(array)
    array += array
    return array
def columns(array): return numpy.asfortranarray(array.astype('>i4'))
def ragged(): return [[1], [1, 2]]
def half(): return numpy.zeros(2, 'float16')
def scalars(): return {'mean': numpy.float32(0.5), 'n': numpy.int64(3), 'all': numpy.arange(3)}
";
    std::fs::write(bench.path("steps.py"), source).unwrap();
    let folder = bench.folder.path().to_owned();
    let of = |name: &str, output: &str| json!({"python": name, "output": output, "path": [folder]});
    let numbers: Vec<Vec<f64>> = vec![vec![1.0, f64::INFINITY], vec![-0.5, 3.0]];
    let array = object(Encoding::Array, to_npy(&numbers).unwrap(), "");
    let object =
        completed(bench.run(named(&of("steps:double", "array"), vec![array.clone()])).await);
    assert_eq!(object.header.encoding, Encoding::Array);
    let doubled = Array::from_npy(&object.data).unwrap();
    assert_eq!(doubled.read::<Vec<[f64; 2]>>().unwrap(), [[2.0, f64::INFINITY], [-1.0, 6.0]]);
    let whole = Payload::Bytes(
        TransportableObject {
            data: to_npy(&vec![[1.0, 2.0], [3.0, 4.0]]).unwrap().into(),
            ..object.clone()
        }
        .to_archive()
        .into(),
    );
    // Whatever order and ends its numbers have in Python.
    let columns = completed(bench.run(named(&of("steps:columns", "array"), vec![whole])).await);
    assert_eq!(columns.decode::<Vec<Vec<i32>>>().unwrap(), [[1, 2], [3, 4]]);
    // Lists that are an array in all but name, and single numbers.
    let list =
        named(&json!({"python": "builtins:list", "output": "array"}), vec![plain(&json!([1, 2]))]);
    assert_eq!(completed(bench.run(list).await).decode::<Vec<i64>>().unwrap(), [1, 2]);
    let one =
        named(&json!({"python": "builtins:float", "output": "array"}), vec![plain(&json!(1))]);
    assert_eq!(completed(bench.run(one).await).decode::<f64>().unwrap().to_bits(), 1f64.to_bits());
    for (name, said) in
        [("ragged", "it is no array of numbers"), ("half", "its items are `float16`")]
    {
        let ending = bench.run(named(&of(&format!("steps:{name}"), "array"), vec![])).await;
        assert!(failed(&ending).1.contains(said), "{ending:?}");
    }
    let scalars = completed(bench.run(named(&of("steps:scalars", "json"), vec![])).await);
    assert_eq!(json_of(&scalars), json!({"mean": 0.5, "n": 3, "all": [0, 1, 2]}));
    // A function that was pickled gets arrays as well.
    let mut task = named(&json!({}), vec![array]);
    task.function = archive(pickled_value("lambda array: type(array).__name__"));
    assert_eq!(completed(bench.run(task).await).object_string, "ndarray");
}

#[tokio::test]
async fn arrays_need_numpy_and_say_so() {
    let mut bench = Bench::new(1);
    // None in the table of modules is how Python notes that a module must not be found.
    let source = "import sys\nsys.modules['numpy'] = None\ndef f(*args): return [1.0]";
    std::fs::write(bench.path("steps.py"), source).unwrap();
    let document = json!({"python": "steps:f", "output": "array", "path": [bench.folder.path()]});
    let ending = bench.run(named(&document, vec![])).await;
    let message = failed(&ending).1;
    assert!(message.contains("a `list` in Python, cannot be encoded as array"), "{message}");
    assert!(
        message.contains("need NumPy") && message.contains("-m pip install numpy"),
        "{message}"
    );
    let array = object(Encoding::Array, to_npy(&vec![1.0]).unwrap(), "");
    let ending = bench.run(named(&document, vec![array])).await;
    let said =
        "the output of node 1, encoded as array, cannot be read: arrays of numbers need NumPy";
    assert!(failed(&ending).1.starts_with(said), "{ending:?}");
}
