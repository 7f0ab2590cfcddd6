//! The bytes of contents: in, checked, and out again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use cov_core::asset::{AssetKey, ContentDigest, ContentRef, INLINE_BYTES_MAX};
use cov_core::status::Status;

use super::fixtures::{LARGE, asset, bytes, content, id, of_node, register, set, write};
use super::{Harness, Opened};
use crate::{Blob, Contents, Error};

fn names_of(data: &[u8]) -> ContentRef {
    let mut digest = ContentDigest::default();
    digest.update(data);
    digest.finish()
}

async fn read_back(contents: &dyn Contents, content: &ContentRef) -> Vec<u8> {
    match contents.read(content).await.unwrap() {
        Blob::Small(bytes) => bytes.to_vec(),
        Blob::File { path, size } => {
            assert!(path.is_absolute());
            let read = fs::read(path).unwrap();
            assert_eq!(read.len() as u64, size);
            read
        }
    }
}

async fn register_with_node(opened: &Opened) {
    opened.store.commit(&[register("a", 1)]).await.unwrap();
}

/// Small ones come with their bytes, large ones are files; however they were cut into chunks.
pub async fn sizes_around_every_limit_come_back(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    register_with_node(&opened).await;
    let limit = INLINE_BYTES_MAX;
    let mebibyte = 1024 * 1024;
    let sizes = [0, 1, limit - 1, limit, limit + 1, mebibyte - 1, mebibyte, mebibyte + 1, LARGE];
    for (seed, size) in (0_u8..).zip(sizes) {
        let data = bytes(seed, size);
        for chunk in [1000, limit, 300_000, usize::MAX] {
            let staged = write(opened.contents.as_ref(), &data, chunk).await;
            assert_eq!(staged.content, names_of(&data), "{size} bytes in chunks of {chunk}");
            assert_eq!(staged.small.is_some(), size <= limit);
            let change = asset(of_node(0, AssetKey::Output), &staged);
            opened.store.commit(&[set("a", 1, vec![change])]).await.unwrap();
        }
        let content = names_of(&data);
        assert!(opened.contents.holds(&content.id).await.unwrap());
        // Twice: from where it lies, and from what is remembered.
        assert!(read_back(opened.contents.as_ref(), &content).await == data, "{size} bytes");
        assert!(read_back(opened.contents.as_ref(), &content).await == data, "{size} bytes");
        let blob = opened.contents.read(&content).await.unwrap();
        assert_eq!(matches!(blob, Blob::Small(_)), size <= limit, "{size} bytes");
    }
}

/// Many at once come back in the order in which they were asked for, also twice, whatever their
/// size; one that is not there is the error of all.
pub async fn many_are_read_in_order(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    register_with_node(&opened).await;
    let mut datas: Vec<Vec<u8>> = (0..1_200_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    datas.insert(700, bytes(8, LARGE));
    let mut changes = Vec::new();
    for data in &datas {
        let staged = write(opened.contents.as_ref(), data, usize::MAX).await;
        changes.push(asset(of_node(0, AssetKey::Output), &staged));
    }
    opened.store.commit(&[set("a", 1, changes)]).await.unwrap();
    drop(opened);
    let opened = harness.open().await;
    let mut asked: Vec<_> = datas.iter().map(|data| names_of(data)).collect();
    asked.extend_from_within(..3);
    let read = opened.contents.read_all(&asked).await.unwrap();
    assert_eq!(read.len(), asked.len());
    for (blob, data) in read.into_iter().zip(datas.iter().cycle()) {
        match blob {
            Blob::Small(bytes) => assert_eq!(bytes, *data),
            Blob::File { path, .. } => assert!(fs::read(path).unwrap() == *data),
        }
    }
    asked.push(names_of(b"nobody brought this"));
    let missing = opened.contents.read_all(&asked).await.unwrap_err();
    assert!(matches!(missing, Error::Corrupt { .. }), "{missing:?}");
}

/// Given up midway, small or large.
pub async fn a_dropped_writer_leaves_nothing(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    for size in [10, LARGE] {
        let data = bytes(1, size);
        let mut writer = opened.contents.writer().await.unwrap();
        writer.write(Bytes::from(data.clone())).await.unwrap();
        drop(writer);
        assert!(!opened.contents.holds(&names_of(&data).id).await.unwrap());
        let refused = opened.contents.read(&names_of(&data)).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })));
    }
}

/// Two uploads of the same bytes do not disturb each other.
pub async fn one_content_written_twice_at_once_is_one(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let data = Bytes::from(bytes(3, LARGE));
    let mut first = opened.contents.writer().await.unwrap();
    let mut second = opened.contents.writer().await.unwrap();
    for part in [0..LARGE / 2, LARGE / 2..LARGE] {
        first.write(data.slice(part.clone())).await.unwrap();
        second.write(data.slice(part)).await.unwrap();
    }
    let first = tokio::spawn(first.finish());
    let second = tokio::spawn(second.finish());
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first, second);
    assert!(read_back(opened.contents.as_ref(), &first.content).await == data);
}

/// A runner's file becomes a content; it is gone from the spool.
pub async fn a_spool_file_is_taken_over(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    register_with_node(&opened).await;
    fs::create_dir(opened.contents.spool().join("folder")).unwrap();
    for (name, size) in [
        ("empty", 0),
        ("small", INLINE_BYTES_MAX),
        ("large", LARGE),
        ("again", LARGE),
        ("folder/small", 1),
        ("folder/large", LARGE + 1),
    ] {
        let path = opened.contents.spool().join(name);
        let data = bytes(4, size);
        fs::write(&path, &data).unwrap();
        let staged = opened.contents.adopt(&path).await.unwrap();
        assert_eq!(staged.content, names_of(&data));
        assert_eq!(staged.small.is_some(), size <= INLINE_BYTES_MAX);
        assert!(!path.exists(), "{name} is still in the spool");
        let change = asset(of_node(0, AssetKey::Output), &staged);
        opened.store.commit(&[set("a", 1, vec![change])]).await.unwrap();
        assert!(read_back(opened.contents.as_ref(), &staged.content).await == data);
    }
}

/// Nothing is taken from elsewhere, through a link, or from what is no file.
pub async fn only_plain_files_of_the_spool_are_taken_over(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let spool = opened.contents.spool();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), spool.join("link")).unwrap();
    fs::create_dir(spool.join("folder")).unwrap();
    let pipe = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, spool.join("pipe"), pipe).unwrap();
    fs::create_dir(spool.join("folder/deep")).unwrap();
    fs::write(spool.join("folder/deep/file"), "x").unwrap();
    let elsewhere = tempfile::TempDir::new().unwrap();
    fs::write(elsewhere.path().join("file"), "x").unwrap();
    symlink(elsewhere.path(), spool.join("linked")).unwrap();
    let beside = spool.join("../beside");
    fs::write(&beside, "x").unwrap();
    let around = spool.join("../spool/../around");
    fs::write(&around, "x").unwrap();
    let paths = [
        outside.path().to_path_buf(),
        spool.join("link"),
        spool.join("folder"),
        spool.join("pipe"),
        spool.join("none"),
        spool.join("folder/deep/file"),
        spool.join("linked/file"),
        beside.clone(),
    ];
    for path in paths.iter().map(AsRef::as_ref).chain([around.as_path(), Path::new("relative")]) {
        let refused = opened.contents.adopt(path).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{}: {refused:?}", path.display());
    }
    assert!(outside.path().exists() && around.exists() && beside.exists());
    assert!(elsewhere.path().join("file").exists());
}

/// Neither small nor large ones, nor those with a false size.
pub async fn bytes_that_are_not_there_are_not_handed_out(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    for absent in [content("absent"), names_of(&bytes(5, LARGE))] {
        assert!(!opened.contents.holds(&absent.id).await.unwrap());
        let refused = opened.contents.read(&absent).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
}

/// Small and large, after the process is gone.
pub async fn committed_contents_outlast_the_process(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    register_with_node(&opened).await;
    let datas = [bytes(6, 100), bytes(7, LARGE)];
    for (key, data) in [AssetKey::Output, AssetKey::Stdout].into_iter().zip(&datas) {
        let staged = write(opened.contents.as_ref(), data, 50_000).await;
        let changes =
            vec![asset(of_node(0, key), &staged), super::fixtures::node(0, Status::Completed, 1)];
        opened.store.commit(&[set("a", 1, changes)]).await.unwrap();
    }
    drop(opened);
    let opened = harness.open().await;
    let record = opened.store.record(&id("a")).await.unwrap();
    for ((_, state), data) in record.nodes[0].assets.iter().zip(&datas) {
        assert!(read_back(opened.contents.as_ref(), state.content().unwrap()).await == *data);
    }
    let asked = datas.map(|data| names_of(&data));
    let announced =
        asked.map(|one| cov_core::asset::Announced { size: one.size, sha1: Some(one.sha1) });
    let known = opened.store.known_contents(&announced).await.unwrap();
    assert_eq!(known, asked.map(Some));
}

/// What runners left behind is nobody's.
pub async fn the_spool_is_empty_after_opening(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    fs::write(opened.contents.spool().join("left"), "x").unwrap();
    fs::create_dir(opened.contents.spool().join("folder")).unwrap();
    fs::write(opened.contents.spool().join("folder/left"), "x").unwrap();
    drop(opened);
    let opened = harness.open().await;
    assert_eq!(fs::read_dir(opened.contents.spool()).unwrap().count(), 0);
}
