"""A Modbus device made with pymodbus: the hardware of the interoperability test.

Unit 1: input 0 = counter (u16), holding 10..11 = -1.5 (f32, low word first), holding 20 = valve
(u16), coil 3 = pump. Unit 2: nothing but holding 0 = 7. Prints what is written to it.
"""

import asyncio
import sys

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

counter = 0


async def touched(function_code, start_address, address, count, current_registers, set_values):
    global counter
    if set_values is not None:
        if function_code in (6, 16) and list(set_values) == [13]:
            return ExcCodes.DEVICE_BUSY
        print(f"written {function_code} {address} {[int(v) for v in set_values]}", flush=True)
    elif function_code == 4:
        counter += 1
        current_registers[0] = counter
    return None


async def main():
    bits = lambda address: [SimData(address, count=8, values=False, datatype=DataType.BITS)]
    words = lambda address, values: [SimData(address, values=values, datatype=DataType.REGISTERS)]
    low_word_first = [0x0000, 0xBFC0]
    holding = words(10, low_word_first) + words(20, [5])
    units = [
        SimDevice(1, simdata=(bits(0), bits(0), holding, words(0, [0])), action=touched),
        SimDevice(2, simdata=(bits(0), bits(0), words(0, [7]), words(0, [0]))),
    ]
    server = ModbusTcpServer(units, address=("127.0.0.1", int(sys.argv[1])))
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
