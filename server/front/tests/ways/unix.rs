//! Unix sockets: permissions, files left behind, and files that are not ours.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use evanesce_front::Front;

use crate::kit::{Place, connect, connect_unix, drain, is_served, start};

#[test]
fn unix_socket_is_served_with_its_mode_and_gone_at_the_end() {
    let place = Place::new();
    let path = place.path("e.sock");
    let listen = format!("unix:{}?mode=0660", path.display());
    let running = start(place.config(&[&listen, "127.0.0.1:0"]));
    let made = std::fs::metadata(&path).unwrap();
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o660);
    assert_eq!(running.local_addrs().len(), 1);
    assert_eq!(running.listening()[0].to_string(), listen);
    is_served(&mut connect_unix(&path));
    is_served(&mut connect(running.local_addrs()[0]));
    drain(running);
    assert!(!path.exists());
}

#[test]
fn socket_of_a_process_that_died_is_in_nobodys_way() {
    let place = Place::new();
    let path = place.path("e.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let _running = start(place.config(&[&format!("unix:{}", path.display())]));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    is_served(&mut connect_unix(&path));
}

#[test]
fn socket_of_a_process_that_lives_and_a_file_of_another_kind_are_left_alone() {
    let place = Place::new();
    let path = place.path("e.sock");
    let config = || place.config(&[&format!("unix:{}", path.display())]);
    let first = start(config());
    let error = Front::bind(config()).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    is_served(&mut connect_unix(&path));
    drain(first);
    std::fs::write(&path, "precious").unwrap();
    let error = Front::bind(config()).unwrap_err().to_string();
    assert!(error.contains("a file that is no socket") && error.contains("choose another path"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn file_that_took_the_sockets_place_is_not_removed() {
    let place = Place::new();
    let path = place.path("e.sock");
    let running = start(place.config(&[&format!("unix:{}", path.display())]));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another's").unwrap();
    drain(running);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's");
}

#[test]
fn front_that_never_starts_leaves_no_file() {
    let place = Place::new();
    let path = place.path("e.sock");
    drop(Front::bind(place.config(&[&format!("unix:{}", path.display())])).unwrap());
    assert!(!path.exists());
}
