//! The forward face: durable telemetry on its way out, to `TOPIC/DEVICE` at a broker.
//!
//! Each record is published with quality of service 1 and counts as delivered when the broker
//! has acknowledged it, whether or not somebody listens there. Absent: keeping and sending again
//! (whoever calls does), reconnecting.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_adapter::{ForwardContext, ForwardRecord, LinkError, Outbound, Sink, Tasks, Traffic};
use plantwin_model::{DeviceId, PathSpec, Span};
use tokio::sync::oneshot;

use crate::{
    client::{Joining, Publisher, Pump, Session, Side, taken, unique_word},
    config::{Config, check_topic},
};

/// Records that may be under way at most, whatever the plant file says.
const MOST: u16 = 1024;

/// Connects; resolves when the broker has consented.
pub(crate) async fn forward(context: ForwardContext) -> Result<Outbound, LinkError> {
    let ForwardContext { plant, target, timeout } = context;
    let path = PathSpec {
        protocol: "mqtt",
        settings: target.settings,
        points: BTreeMap::new(),
        span: Span::default(),
    };
    let config = Config::read(&DeviceId::from(plant.as_str()), &[], &path, None, false)?;
    let base = path.text("topic").map_or_else(|| format!("plantwin/{plant}"), str::to_owned);
    check_topic(&base).map_err(|problem| LinkError::Settings(format!("`topic` {problem}")))?;
    let unique = || format!("plantwin-{plant}-forward-{}", unique_word());
    let client_id = config.client_id.clone().unwrap_or_else(unique);
    let window = target.window.clamp(1, MOST);
    let joining = Joining {
        config: &config,
        client_id: &client_id,
        will: None,
        side: Side::Plantwin,
        session: Session::Prompt,
        queue: window,
        inflight: window,
        timeout,
    };
    let mut pump = Pump::connect(joining, Arc::new(Traffic::default())).await?;
    let endpoint = config.endpoint();
    let sink = MqttSink { publisher: pump.publisher(), base, timeout, endpoint: endpoint.clone() };
    let (ended, closed) = oneshot::channel();
    let mut tasks = Tasks::new();
    tasks.spawn(async move {
        let reason = loop {
            if let Err(reason) = pump.next().await {
                break reason;
            }
        };
        // First what is under way fails, then the connection is over.
        drop(pump);
        // Nobody may be listening any more.
        let _ = ended.send(reason);
    });
    Ok(Outbound { sink: Arc::new(sink), endpoint, closed, tasks })
}

struct MqttSink {
    publisher: Publisher,
    /// Topic without its last part, the device.
    base: String,
    timeout: Duration,
    endpoint: String,
}

impl Sink for MqttSink {
    /// Records go out in the order of the calls, not of the first polls. More than the window
    /// that do not fit into the socket either are refused. One that was not acknowledged in time
    /// may still arrive.
    fn send(&self, record: ForwardRecord) -> BoxFuture<'static, Result<(), LinkError>> {
        let topic = format!("{}/{}", self.base, record.device);
        let handed = self.publisher.try_publish(&topic, record.body);
        let (timeout, endpoint) = (self.timeout, self.endpoint.clone());
        Box::pin(async move {
            let late = LinkError::Timeout { endpoint, millis: timeout.as_millis() as u64 };
            tokio::time::timeout(timeout, taken(handed?)).await.unwrap_or(Err(late))
        })
    }
}
