//! The figures: every coefficient with its source and its range.
//!
//! Absent: cellular radios (their cost is the paging tail, which traffic counts do not show),
//! the processor's own work beside the radio, batteries.

use crate::{Coefficient, Confidence, Profile};
use Confidence::{Assumed, Computed, Datasheet, Measured};

const fn figure(
    value: f64,
    low: f64,
    high: f64,
    confidence: Confidence,
    source: &'static str,
) -> Coefficient {
    Coefficient { value, low, high, confidence, source }
}

const NOTHING: &str = "contained in the other coefficients";
const NONE: Coefficient = figure(0.0, 0.0, 0.0, Computed, NOTHING);

const WIFI_WAKE: Coefficient = figure(
    4.5e-3,
    2.0e-3,
    40.0e-3,
    Assumed,
    "13.6 ms x 100 mA x 3.3 V; upper bound: connect and publish from deep sleep, \
     measured by glenn20/upy-esp32-experiments (150.9 uWh with, 139.2 uWh without MQTT)",
);
const WIFI_FRAME: Coefficient = figure(
    0.6e-3,
    0.2e-3,
    1.5e-3,
    Assumed,
    "contention, preamble, frame and acknowledgement: 1.8 ms x 100 mA x 3.3 V",
);
const WIFI_BYTE: Coefficient = figure(
    0.6e-6,
    0.05e-6,
    1.0e-6,
    Assumed,
    "8 bit at about 4.4 Mbit/s effective rate x 100 mA x 3.3 V",
);

const NRF_TX_BYTE: Coefficient = figure(
    0.614e-6,
    0.576e-6,
    0.65e-6,
    Computed,
    "6.4 mA at 0 dBm x 3.0 V (Nordic nRF52840 product specification; 6.0 in an older \
     revision) x 32 us per byte (IEEE 802.15.4, 250 kbit/s)",
);
const NRF_RX_BYTE: Coefficient = figure(
    0.627e-6,
    0.595e-6,
    0.65e-6,
    Computed,
    "6.53 mA x 3.0 V (Nordic nRF52840 product specification; 6.2 in an older revision) x 32 us",
);
const NRF_FRAME: Coefficient = figure(
    70.0e-6,
    30.0e-6,
    120.0e-6,
    Assumed,
    "29 B of PHY and MAC header (18 uJ), 11 B acknowledgement with turn-around (11 uJ), \
     about 2 ms of CSMA-CA and processor at 20 mW (41 uJ)",
);

pub(crate) const PROFILES: &[Profile] = &[
    Profile {
        name: "ethernet",
        title: "100BASE-TX wire, PHY only",
        idle_watts: figure(
            0.26,
            0.129,
            0.47,
            Datasheet,
            "Microchip LAN8700 data brief: 79 mA x 3.3 V (39 mA at 10BASE-T); upper bound: \
             W5500 board, 170 - 80 mA x 5.2 V",
        ),
        wake_joules: NONE,
        tx_frame_joules: figure(
            0.0,
            0.0,
            10.0e-6,
            Datasheet,
            "a 100BASE-TX link sends idle symbols when it has no frame: its power does not \
             depend on traffic (IEEE 802.3 clause 24)",
        ),
        rx_frame_joules: figure(0.0, 0.0, 10.0e-6, Datasheet, "as for sending"),
        tx_byte_joules: NONE,
        rx_byte_joules: NONE,
        frame_payload_bytes: 1500,
        carries_ip: true,
    },
    Profile {
        name: "esp32-wifi",
        title: "ESP32, Wi-Fi, automatic light sleep, DTIM 10",
        idle_watts: figure(
            7.23e-3,
            7.23e-3,
            11.02e-3,
            Measured,
            "Espressif ESP-IDF programming guide, low power mode in Wi-Fi scenarios, ESP32: \
             2.19 mA x 3.3 V at DTIM 10 (3.34 mA at DTIM 1)",
        ),
        wake_joules: WIFI_WAKE,
        tx_frame_joules: WIFI_FRAME,
        rx_frame_joules: WIFI_FRAME,
        tx_byte_joules: WIFI_BYTE,
        rx_byte_joules: WIFI_BYTE,
        frame_payload_bytes: 1500,
        carries_ip: true,
    },
    Profile {
        name: "esp32c3-wifi",
        title: "ESP32-C3, Wi-Fi, automatic light sleep, DTIM 3",
        idle_watts: figure(
            2.05e-3,
            1.02e-3,
            4.62e-3,
            Measured,
            "Espressif ESP-IDF programming guide, low power mode in Wi-Fi scenarios, ESP32-C3: \
             0.62 mA x 3.3 V at DTIM 3 (0.31 mA at DTIM 10, 1.4 mA at DTIM 1)",
        ),
        wake_joules: WIFI_WAKE,
        tx_frame_joules: WIFI_FRAME,
        rx_frame_joules: WIFI_FRAME,
        tx_byte_joules: WIFI_BYTE,
        rx_byte_joules: WIFI_BYTE,
        frame_payload_bytes: 1500,
        carries_ip: true,
    },
    Profile {
        name: "tsch-cc2538",
        title: "CC2538, IEEE 802.15.4 TSCH slots",
        idle_watts: figure(
            0.35e-3,
            0.1e-3,
            0.7e-3,
            Assumed,
            "some idle listening slots a second at 6.4 uC (Vilajosana 2014) x 3.0 V, beacons; \
             about twice with the slot charges of Daneels 2018",
        ),
        wake_joules: NONE,
        tx_frame_joules: figure(
            163.5e-6,
            163.5e-6,
            319.4e-6,
            Measured,
            "TxDataRxAck slot 54.5 uC x 3.0 V (X. Vilajosana et al., IEEE Sensors J. 14 (2014) \
             482-489); upper bound 106.45 uC (Daneels 2018, processor included)",
        ),
        rx_frame_joules: figure(
            97.8e-6,
            97.8e-6,
            323.0e-6,
            Measured,
            "RxDataTxAck slot 32.6 uC x 3.0 V (same paper); upper bound 107.66 uC (Daneels 2018)",
        ),
        tx_byte_joules: NONE,
        rx_byte_joules: NONE,
        frame_payload_bytes: 80,
        carries_ip: true,
    },
    Profile {
        name: "nrf52840-802154",
        title: "nRF52840, IEEE 802.15.4 sleepy end device",
        idle_watts: figure(
            0.05e-3,
            0.0045e-3,
            0.2e-3,
            Assumed,
            "1.5 uA x 3.0 V asleep (Nordic nRF52840 product specification) and polling the \
             parent every few seconds",
        ),
        wake_joules: NONE,
        tx_frame_joules: NRF_FRAME,
        rx_frame_joules: NRF_FRAME,
        tx_byte_joules: NRF_TX_BYTE,
        rx_byte_joules: NRF_RX_BYTE,
        frame_payload_bytes: 80,
        carries_ip: true,
    },
    Profile {
        name: "ble",
        title: "nRF52840, Bluetooth Low Energy 1 Mbit/s, 1 s connection interval",
        idle_watts: figure(
            0.05e-3,
            0.02e-3,
            0.2e-3,
            Assumed,
            "one empty connection event a second at 40 to 60 uJ",
        ),
        wake_joules: NONE,
        tx_frame_joules: figure(
            50.0e-6,
            40.0e-6,
            60.0e-6,
            Assumed,
            "one notification: 1 ms of radio at 6.4 mA and 2 ms of processor at 3.2 mA, 3.0 V, \
             with ramp-up",
        ),
        rx_frame_joules: figure(50.0e-6, 40.0e-6, 60.0e-6, Assumed, "as for sending"),
        tx_byte_joules: figure(
            0.154e-6,
            0.144e-6,
            0.394e-6,
            Computed,
            "6.4 mA at 0 dBm x 3.0 V (Nordic nRF52840 product specification; 16.4 mA at 8 dBm) \
             x 8 us per byte",
        ),
        rx_byte_joules: figure(
            0.150e-6,
            0.149e-6,
            0.16e-6,
            Computed,
            "6.26 mA x 3.0 V (Nordic nRF52840 product specification) x 8 us per byte",
        ),
        frame_payload_bytes: 244,
        carries_ip: true,
    },
    Profile {
        name: "lorawan-sf7",
        title: "SX1276, LoRaWAN class A, SF7, 125 kHz, 14 dBm, without IP",
        idle_watts: figure(
            0.01e-3,
            0.005e-3,
            0.03e-3,
            Assumed,
            "radio and processor asleep with a running clock, about 3 uA x 3.3 V",
        ),
        wake_joules: figure(
            20.0e-3,
            11.0e-3,
            31.0e-3,
            Assumed,
            "two receive windows and processor",
        ),
        tx_frame_joules: figure(
            6.62e-3,
            4.3e-3,
            19.0e-3,
            Assumed,
            "preamble, PHY header and the 13 B of LoRaWAN header and MIC: 45.6 ms (airtime \
             formula, Semtech AN1200.13) x 44 mA x 3.3 V; 44 mA at 14 dBm is assumed between \
             29 mA at 13 dBm (RFO) and 120 mA at 20 dBm (PA_BOOST) of the SX1276 data sheet",
        ),
        rx_frame_joules: figure(
            1.88e-3,
            1.6e-3,
            3.0e-3,
            Assumed,
            "the same 45.6 ms x 12.5 mA x 3.3 V",
        ),
        tx_byte_joules: figure(
            212.4e-6,
            140.0e-6,
            600.0e-6,
            Assumed,
            "1.463 ms per byte at SF7, coding rate 4/5 (Semtech AN1200.13) x 44 mA x 3.3 V; \
             bounds as for the frame",
        ),
        rx_byte_joules: figure(60.3e-6, 50.0e-6, 70.0e-6, Assumed, "1.463 ms x 12.5 mA x 3.3 V"),
        frame_payload_bytes: 222,
        carries_ip: false,
    },
];
