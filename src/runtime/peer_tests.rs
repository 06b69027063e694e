//! Real sockets against the inbox and the writer.

use super::*;
use crate::runtime::tests::on_executor;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as BlockingStream};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

fn pair() -> (BlockingStream, BlockingStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = BlockingStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Only on an executor.
fn peer_on(server: BlockingStream) -> Rc<Peer> {
    server.set_nonblocking(true).unwrap();
    // SAFETY: the descriptor was just given up by its owner.
    #[allow(unsafe_code, reason = "see SAFETY below")]
    let stream = unsafe { TcpStream::from_raw_fd(server.into_raw_fd()) };
    Rc::new(Peer::new(ConnectionId { index: 0, generation: 1 }, stream, 0))
}

fn frame(len: usize) -> Vec<u8> {
    let mut frame = u32::try_from(len).unwrap().to_be_bytes().to_vec();
    frame.extend((0..len).map(|index| u8::try_from((index * 7 + len) % 251).unwrap()));
    frame
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the other end of a socket needs a thread of its own")]
fn frames_of_every_size_come_through_whole_and_in_order() {
    let sizes = [0, 1, 100, 70_000, 3, 300_000, 65_536, 65_537, 1 << 20, 5 << 20, 12, 200_000, 5];
    let (mut client, server) = pair();
    let writer = std::thread::spawn(move || {
        for size in sizes {
            // Odd pieces, so that prefixes and bodies arrive torn.
            for piece in frame(size).chunks(77_777) {
                client.write_all(piece).unwrap();
            }
        }
    });
    on_executor(move || async move {
        let peer = peer_on(server);
        let shared = RefCell::new(BytesMut::new());
        let mut inbox = Inbox::default();
        let mut sizes = sizes.into_iter().peekable();
        while sizes.peek().is_some() {
            assert!(peer.receive(&shared, &mut inbox).await.unwrap() > 0);
            while let Some(size) = sizes.peek().copied() {
                if inbox.bytes.len() < size + 4 {
                    break;
                }
                assert!(inbox.bytes.split_to(size + 4)[..] == frame(size)[..], "frame of {size}");
                sizes.next();
            }
            inbox.unpin();
        }
        assert_eq!(inbox.bytes.capacity(), 0, "an idle connection holds no buffer");
        assert_eq!(peer.receive(&shared, &mut inbox).await.unwrap(), 0);
    });
    writer.join().unwrap();
}

#[test]
fn a_length_prefix_alone_claims_little_memory() {
    let mut inbox = Inbox::default();
    inbox.bytes.extend_from_slice(&100_000_000i32.to_be_bytes());
    inbox.unpin();
    assert_eq!(inbox.target(), Target::Own(100_000_000));
    assert!(inbox.bytes.capacity() <= 4 + GROW_BYTES + 64);
    inbox.bytes.clear();
    assert_eq!(inbox.target(), Target::Prefix(4), "after a large frame the next is measured first");
    inbox.bytes.extend_from_slice(&(-5i32).to_be_bytes());
    assert_eq!(inbox.target(), Target::Shared, "the frame reader refuses it");
}

#[test]
fn a_large_frame_is_moved_a_few_times_only_however_small_the_pieces_it_comes_in() {
    const FRAME_BYTES: usize = 100_000_000;
    let mut inbox = Inbox::default();
    inbox.bytes.extend_from_slice(&i32::try_from(FRAME_BYTES).unwrap().to_be_bytes());
    let mut capacities = Vec::new();
    while let Target::Own(missing) = inbox.target() {
        inbox.unpin();
        capacities.push(inbox.bytes.capacity());
        let piece = missing.min(inbox.room()).min(77_777);
        assert!(piece > 0, "there is room for what comes next");
        inbox.bytes.resize(inbox.bytes.len() + piece, 0);
    }
    capacities.dedup();
    assert!(capacities.len() <= 7, "2 MiB and 6 times the double: {capacities:?}");
    assert_eq!(inbox.bytes.capacity(), FRAME_BYTES + PREFIX_BYTES, "no more than the frame needs");
}

#[test]
fn a_large_frame_whose_prefix_came_alone_has_room_for_more_than_a_few_bytes() {
    let mut inbox = Inbox::default();
    inbox.bytes.reserve(8);
    inbox.bytes.extend_from_slice(&1_000_000i32.to_be_bytes());
    inbox.unpin();
    assert_eq!(inbox.room(), 1_000_000);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the other end of a socket needs a thread of its own")]
fn what_the_socket_does_not_take_at_once_leaves_later_in_order() {
    const PARTS: usize = 1000;
    const PART_BYTES: usize = 20_000;
    let (mut client, server) = pair();
    let mut file = tempfile::tempfile().unwrap();
    for byte in 0..=255 {
        file.write_all(&[byte; PART_BYTES]).unwrap();
    }
    let (go, may_read) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        may_read.recv().unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        received
    });
    on_executor(move || async move {
        let peer = peer_on(server);
        let file = Arc::new(OwnedFd::from(file));
        let part = |index: usize| -> Part {
            let byte = u8::try_from(index % 256).unwrap();
            match index % 3 {
                0 => Part::File(FileRange {
                    file: Arc::clone(&file),
                    position: u64::from(byte) * PART_BYTES as u64,
                    len: PART_BYTES,
                }),
                _ => Bytes::from(vec![byte; PART_BYTES]).into(),
            }
        };
        let first: Vec<Part> = (0..PARTS - 1).map(part).collect();
        assert_eq!(peer.send(first), Sent::NeedsWriter);
        assert!(peer.unsent_bytes() > PART_BYTES);
        assert_eq!(peer.send(vec![part(PARTS - 1), Bytes::new().into()]), Sent::Queued);
        peer.close();
        go.send(()).unwrap();
        peer.write_rest(0).await;
        assert_eq!(peer.unsent_bytes(), 0);
        assert_eq!(peer.send(Vec::new()), Sent::All);
    });
    let received = reader.join().unwrap();
    assert_eq!(received.len(), PARTS * PART_BYTES);
    for (index, part) in received.chunks(PART_BYTES).enumerate() {
        assert!(part.iter().all(|byte| usize::from(*byte) == index % 256), "part {index}");
    }
}

#[test]
fn a_client_that_is_gone_frees_what_waits_for_it() {
    on_executor(move || async move {
        let (client, server) = pair();
        let peer = peer_on(server);
        let parts = (0..1000).map(|_| Bytes::from(vec![0; 20_000]).into()).collect();
        assert_eq!(peer.send(parts), Sent::NeedsWriter);
        drop(client);
        peer.write_rest(0).await;
        assert_eq!(peer.unsent_bytes(), 0);
        assert_eq!(
            peer.send(vec![Bytes::from_static(b"late").into()]),
            Sent::All,
            "nothing may pile up"
        );
        let shared = RefCell::new(BytesMut::new());
        assert!(matches!(peer.receive(&shared, &mut Inbox::default()).await, Ok(0) | Err(_)));
    });
}

#[test]
fn a_file_that_was_cut_breaks_the_connection_and_never_sends_less_in_silence() {
    on_executor(move || async move {
        let (mut client, server) = pair();
        let peer = peer_on(server);
        let file = Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
        let range = FileRange { file, position: 0, len: 100 };
        assert_eq!(peer.send(vec![Part::File(range)]), Sent::All);
        assert_eq!(peer.unsent_bytes(), 0);
        assert_eq!(client.read(&mut [0; 100]).unwrap(), 0);
    });
}
