//! Against tokio-modbus, another implementation in Rust: as the hardware and as a client. Unlike
//! the peers in other languages it is always there.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use plantwin_adapter::{DeviceMessage, LinkError, PointWrite, Tasks};
use plantwin_model::PointIx;
use tokio::net::TcpListener;
use tokio_modbus::{
    ExceptionCode,
    prelude::{Reader, Request, Response, Slave, SlaveRequest, Writer},
    server::{
        Service,
        tcp::{Server, accept_tcp_connection},
    },
};

use super::support::{at, connect, context, frame, host, path, publish, within};
use crate::Modbus;

/// Holds floats at 0 and 2 and takes writes to 4.
struct Plc {
    written: Mutex<Vec<(u8, u16, Vec<u16>)>>,
}

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, SlaveRequest { slave, request }: Self::Request) -> Self::Future {
        std::future::ready(match request {
            Request::ReadHoldingRegisters(start, count) => {
                // 1.0 is 3F800000, 2.0 is 40000000.
                let registers = [0x3F80, 0, 0x4000, 0, 0, 0, 0, 0];
                let (from, to) = (usize::from(start), usize::from(start + count));
                let some = registers.get(from..to).ok_or(ExceptionCode::IllegalDataAddress);
                some.map(|r| Response::ReadHoldingRegisters(r.to_vec()))
            }
            Request::WriteMultipleRegisters(4, values) => {
                let written = (slave, 4, values.to_vec());
                self.written.lock().expect("no test panics in it").push(written);
                Ok(Response::WriteMultipleRegisters(4, values.len() as u16))
            }
            Request::WriteMultipleRegisters(..) => Err(ExceptionCode::ServerDeviceBusy),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

#[tokio::test]
async fn a_tokio_modbus_server_is_read_and_written() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let plc = Arc::new(Plc { written: Mutex::default() });
    let service = Arc::clone(&plc);
    let mut tasks = Tasks::new();
    tasks.spawn(async move {
        let new_service = |_| Ok(Some(Arc::clone(&service)));
        let connected = async |stream, from| accept_tcp_connection(stream, from, new_service);
        let ended = Server::new(listener).serve(&connected, |_| ()).await;
        ended.expect("it serves until it is dropped");
    });
    let spec = path(&[("unit", 17)]);
    let period = Duration::from_millis(50);
    let mut link = connect(&Modbus::default(), context(spec, address, period)).await;
    let values: Vec<f64> = frame(&mut link).await.samples.iter().map(|s| s.value).collect();
    assert_eq!(values, [1.0, 2.0, 0.0, 0.0]);
    let write = |point| link.control.write(vec![PointWrite { point: PointIx(point), value: 2.0 }]);
    assert_eq!(within("a write", write(2)).await, Ok(()));
    let refused = within("a write", write(3)).await;
    assert_eq!(refused, Err(LinkError::Refused("SERVER DEVICE BUSY".to_owned())));
    let written = plc.written.lock().expect("no test panics in it").clone();
    assert_eq!(written, [(17, 4, vec![0x4000, 0])]);
}

#[tokio::test]
async fn a_tokio_modbus_client_reads_and_writes_a_played_device() {
    let (host, mut port) = host(at(path(&[("unit", 3)]), 3, 1, "coil", "bool")).await;
    publish(&mut port, 1, &[1.0, 2.0, 3.0, 1.0]).await;
    let mut client = tokio_modbus::client::tcp::connect_slave(host.address, Slave(3))
        .await
        .expect("the server listens");
    let registers = client.read_holding_registers(0, 6).await.expect("an answer");
    assert_eq!(registers.as_deref(), Ok(&[0x3F80, 0, 0x4000, 0, 0x4040, 0][..]));
    let coils = client.read_coils(1, 1).await.expect("an answer");
    assert_eq!(coils.as_deref(), Ok(&[true][..]));
    let beyond = client.read_input_registers(0, 1).await.expect("an answer");
    assert_eq!(beyond, Err(ExceptionCode::IllegalDataAddress));

    let device = async {
        for want in [(4.0, true), (5.0, false)] {
            let Some(DeviceMessage::Write { point, value, reply }) = port.requests.recv().await
            else {
                panic!("a write was sent")
            };
            assert_eq!((point, value), (PointIx(2), want.0));
            reply.send(want.1.then_some(()).ok_or_else(String::new)).expect("it is waited for");
        }
    };
    let work = async {
        let taken = client.write_multiple_registers(4, &[0x4080, 0]).await.expect("an answer");
        let refused = client.write_multiple_registers(4, &[0x40A0, 0]).await.expect("an answer");
        (taken, refused)
    };
    let ((taken, refused), ()) = within("writes", async { tokio::join!(work, device) }).await;
    assert_eq!(taken, Ok(()));
    assert_eq!(refused, Err(ExceptionCode::IllegalDataValue));
}
