"""An OPC UA client that has nothing to do with plantwin, looking at a played device.

Usage: peer_client.py URL. Prints one line for each thing it saw.
"""

import asyncio
import sys

from asyncua import Client, ua


class Heard:
    def __init__(self):
        self.values = []
        self.enough = asyncio.Event()

    def datachange_notification(self, node, value, data):
        if value is not None:
            self.values.append(value)
        if len(self.values) >= 3:
            self.enough.set()


async def attempt(what, work):
    try:
        await work
        print(f"{what}: ok", flush=True)
    except ua.UaStatusCodeError as error:
        print(f"{what}: {ua.StatusCode(error.code).name}", flush=True)


async def main():
    async with Client(sys.argv[1]) as client:
        ns = await client.get_namespace_index("urn:plantwin:device")
        names = [(await n.read_browse_name()).Name for n in await client.nodes.objects.get_children()]
        print("objects:", " ".join(names), flush=True)
        folder = client.get_node(ua.NodeId("alpha", ns))
        names = [(await n.read_browse_name()).Name for n in await folder.get_children()]
        print("alpha:", " ".join(sorted(names)), flush=True)
        level = client.get_node(ua.NodeId("alpha.level", ns))
        voltage = client.get_node(ua.NodeId("alpha.voltage", ns))
        print("level:", await level.read_value(), flush=True)
        print("description:", (await level.read_description()).Text, flush=True)
        units = await level.get_child("0:EngineeringUnits")
        print("unit:", (await units.read_value()).DisplayName.Text, flush=True)

        heard = Heard()
        subscription = await client.create_subscription(50, heard)
        await subscription.subscribe_data_change(level)
        await asyncio.wait_for(heard.enough.wait(), 20)
        rising = heard.values == sorted(heard.values) and len(set(heard.values)) >= 3
        print("subscription:", "rising" if rising else heard.values, flush=True)

        double = ua.VariantType.Double
        await attempt("write", voltage.write_value(2.5, double))
        await attempt("write refused by the device", voltage.write_value(666.0, double))
        await attempt("write NaN", voltage.write_value(float("nan"), double))
        await attempt("write to a measurement", level.write_value(1.0, double))
        await attempt("write of a text", voltage.write_value("2.5", ua.VariantType.String))
        await attempt("write of a whole number", voltage.write_value(2, ua.VariantType.Int32))
        missing = client.get_node(ua.NodeId("alpha.nothing", ns))
        await attempt("write to nowhere", missing.write_value(1.0, double))
        answer = await folder.call_method(ua.NodeId("alpha.session", ns), b"abc")
        print("session:", answer.decode(), flush=True)


asyncio.run(main())
