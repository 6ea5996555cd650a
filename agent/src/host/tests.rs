use super::*;

/// A host made of a few files; paths start with `proc/`, `sys/`, `udev/` or a folder of the root.
pub(crate) fn host_with(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let host = Host::new(HostPaths {
        rootfs: root.into(),
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        udev_data: root.join("udev"),
    });
    (folder, host)
}

/// The same of files that are text.
pub(crate) fn host_with_texts(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, content)| (*path, content.as_bytes())).collect();
    host_with(&files)
}

fn tree() -> (tempfile::TempDir, Host) {
    host_with(&[("etc/hostname", b"web1\n")])
}

#[test]
fn text_is_read_beneath_the_root_and_its_buffer_comes_back() {
    let (_folder, host) = tree();
    let text = host.read(Tree::Root, "/etc/hostname").unwrap();
    assert_eq!(&*text, "web1\n");
    assert_eq!(host.buffers().len(), 0);
    drop(text);
    assert_eq!(host.buffers().len(), 1);
    assert!(host.read(Tree::Root, "etc/none").unwrap_err().is_absent());
    assert!(host.read_if_present(Tree::Proc, "stat").unwrap().is_none());
    assert_eq!(host.buffers().len(), 1);
}

#[cfg(unix)]
#[test]
fn links_stay_beneath_the_root() {
    let (folder, host) = tree();
    std::os::unix::fs::symlink("/etc", folder.path().join("etc/self")).unwrap();
    std::os::unix::fs::symlink("../../../etc/hostname", folder.path().join("etc/name")).unwrap();
    std::os::unix::fs::symlink("loop", folder.path().join("etc/loop")).unwrap();
    for path in ["etc/self/hostname", "etc/name", "../../etc/hostname"] {
        assert_eq!(&*host.read(Tree::Root, path).unwrap(), "web1\n", "{path}");
    }
    assert!(host.read(Tree::Root, "etc/loop").is_err());
}

#[test]
fn commands_are_not_run_for_another_root() {
    let (_folder, host) = tree();
    let error = host.run(&["true"], Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, HostError::OtherRoot { .. }), "{error}");
}

#[test]
fn bytes_that_are_not_text_are_replaced() {
    let (folder, host) = tree();
    std::fs::write(folder.path().join("etc/model"), b"Disk\xff1").unwrap();
    assert_eq!(&*host.read(Tree::Root, "etc/model").unwrap(), "Disk\u{fffd}1");
}
