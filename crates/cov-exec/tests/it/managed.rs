//! Plugins by the managed contract: their jobs outlive the host, and the server.

use cov_exec::{Event, Outcome};
use serde_json::json;

use crate::host::{Host, has_plugins, on, plugin_of_coroutines};
use crate::support::{completed, failed, task, text};

/// An engine that is a folder: a job is a file there, and runs when `go` is there, whoever polls.
const FOLDER: &str = "
    SUPPORTS_MANAGED_EXECUTION = True
    def get_upload_uri(self, task_group_metadata, object_key):
        return self.upload and os.path.join(self.folder, object_key)
    async def run(self, function, args, kwargs, task_metadata):
        raise RuntimeError('the old way')
    async def send(self, task_specs, resources, task_group_metadata):
        assert task_group_metadata['node_ids'] == [task_specs[0].electron_id]
        job = 'job-%d' % task_specs[0].electron_id
        with open(os.path.join(self.folder, job), 'w') as file:
            json.dump([task_specs[0].model_dump(), resources.model_dump()], file)
        return {'job': job}
    async def poll(self, task_group_metadata, handle):
        if not os.path.exists(os.path.join(self.folder, handle['job'])):
            raise KeyError(handle['job'])
        while not os.path.exists(os.path.join(self.folder, 'go')):
            await asyncio.sleep(0.005)
        return handle
    async def receive(self, task_group_metadata, data):
        from covalent._shared_files.util_classes import RESULT_STATUS
        from covalent.executor.schemas import TaskUpdate
        from covalent.executor.utils.serialize import deserialize_node_asset, serialize_node_asset
        from covalent.executor.utils.wrappers import wrapper_fn
        with open(os.path.join(self.folder, data['job'])) as file:
            spec, resources = json.load(file)
        def read(uri, kind):
            with open(uri[7:] if uri.startswith('file://') else uri, 'rb') as file:
                return deserialize_node_asset(file.read(), kind)
        node = str(spec['electron_id'])
        function = read(resources['functions'][node], 'function')
        args = [read(resources['inputs'][str(number)], 'output') for number in spec['args']]
        hooks = read(resources['hooks'][node], 'hooks')
        assert hooks == {}, hooks
        paths, status = {}, 'COMPLETED'
        for key in ('output', 'stdout', 'stderr'):
            paths[key] = os.path.join(self.folder, data['job'] + '.' + key)
            open(paths[key], 'w').close()
        try:
            output = serialize_node_asset(wrapper_fn(function, [], [], *args), 'output')
            with open(paths['output'], 'wb') as file: file.write(output)
        except Exception as error:
            status = 'FAILED'
            with open(paths['stderr'], 'w') as file: print(error, file=file)
        with open(paths['stdout'], 'w') as file: print('by hand', file=file)
        assets = {key: {'remote_uri': path, 'size': 0} for key, path in paths.items()}
        return [TaskUpdate(dispatch_id=task_group_metadata['dispatch_id'],
                           node_id=spec['electron_id'], status=getattr(RESULT_STATUS, status),
                           assets=assets)]
";

fn host_with_folder() -> Host {
    let host = Host::new();
    host.plugin("folder", &plugin_of_coroutines(FOLDER));
    std::fs::create_dir(host.path("engine")).unwrap();
    host
}

fn go(host: &Host) {
    std::fs::write(host.path("engine").join("go"), "").unwrap();
}

#[tokio::test]
async fn a_task_is_sent_polled_and_received() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = host_with_folder();
    go(&host);
    for upload in [true, false] {
        let attributes = json!({ "folder": host.path("engine"), "upload": upload });
        let ending = host.run(on("folder", attributes, task("result = 6 * 7"))).await;
        assert_eq!(text(&ending.stdout), "by hand\n");
        assert_eq!(completed(ending).object_string, "42");
    }
    let attributes = json!({ "folder": host.path("engine"), "upload": true });
    let ending = host.run(on("folder", attributes, task("raise ValueError('boo')"))).await;
    assert_eq!(failed(&ending), (cov_core::error::Fault::Task, "boo\n"));
    let found = cov_exec::Finder::found(&host.host).await.unwrap();
    assert!(found.iter().any(|found| found.name == "folder" && found.attaches), "{found:?}");
}

#[tokio::test]
async fn the_next_life_takes_up_what_was_sent() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = host_with_folder();
    let attributes = json!({ "folder": host.path("engine"), "upload": false });
    let given = on("folder", attributes, task("result = 6 * 7"));
    let attempt = host.submit(given.clone()).await;
    let handle = host.handle_of(attempt).await;
    let mut host = host.restarted().await;
    host.attach(&given, handle.clone()).await;
    assert!(matches!(host.next().await.event, Event::Begun));
    go(&host);
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    assert_eq!(completed(ending).object_string, "42");
    // A job that its engine does not know.
    let unknown = handle.replace("job-", "other-");
    host.attach(&given, unknown.into()).await;
    let event = host.end_of(attempt).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
}

#[tokio::test]
async fn the_next_host_takes_up_what_was_sent() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = host_with_folder();
    host.plugin(
        "deadly",
        &plugin_of_coroutines(
            "
    async def run(self, function, args, kwargs, task_metadata):
        os._exit(9)
",
        ),
    );
    let attributes = json!({ "folder": host.path("engine"), "upload": true });
    let attempt = host.submit(on("folder", attributes, task("result = 6 * 7"))).await;
    host.handle_of(attempt).await;
    let deadly = host.submit(on("deadly", json!({}), task(""))).await;
    let event = host.end_of(deadly).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
    go(&host);
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    let Outcome::Completed(_) = &ending.outcome else { panic!("{ending:?}") };
}
