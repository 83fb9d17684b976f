"""`dpmix curve`: the picture of tables of accuracy against ε."""

from pathlib import Path
from typing import Annotated

import typer


def curve(
    tables: Annotated[list[Path], typer.Argument(help="Tables as JSON, such as results/cifar10/tables/table3.json.")],
    output: Annotated[Path, typer.Option(help="What to write, without its ending.")] = Path("accuracy"),
) -> None:
    """Draw accuracy against ε: a panel for each data set, a curve for each method, with intervals over seeds.

    dpmix curve results/cifar10/tables/table3.json --output results/cifar10/accuracy
    """
    from dpmix.figures.table_curve import table_curve
    from dpmix.tables.render import read

    for path in table_curve([read(path) for path in tables], output):
        typer.echo(path)
