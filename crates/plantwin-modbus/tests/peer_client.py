"""A pymodbus client of a played device, unit 1, with level and flow as floats at holding 0 and 2,
voltage as float at holding 4 and split as u16 in hundredths at holding 6."""

import asyncio
import sys

from pymodbus.client import AsyncModbusTcpClient


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    client = AsyncModbusTcpClient(host, port=int(port), timeout=10, retries=0)
    assert await client.connect()
    floats = lambda answer: client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)
    print("level:", floats(await client.read_holding_registers(0, count=2, device_id=1)))
    print("all:", len((await client.read_holding_registers(0, count=7, device_id=1)).registers))
    print("split:", (await client.read_holding_registers(6, device_id=1)).registers)
    who = await client.read_device_information(read_code=1, object_id=0, device_id=1)
    print("who:", {k: v.decode() for k, v in who.information.items()})

    name = lambda answer: f"exception {answer.exception_code}" if answer.isError() else "ok"
    voltage = client.convert_to_registers(2.5, client.DATATYPE.FLOAT32)
    print("write:", name(await client.write_registers(4, voltage, device_id=1)))
    print("write one:", name(await client.write_register(6, 70, device_id=1)))
    print("refused:", name(await client.write_register(6, 99, device_id=1)))
    print("read only:", name(await client.write_registers(0, voltage, device_id=1)))
    print("half:", name(await client.write_register(4, 1, device_id=1)))
    print("beyond:", name(await client.read_holding_registers(6, count=2, device_id=1)))
    print("coils:", name(await client.read_coils(0, count=1, device_id=1)))
    print("stranger:", name(await client.read_holding_registers(0, count=1, device_id=9)))
    client.close()


asyncio.run(main())
