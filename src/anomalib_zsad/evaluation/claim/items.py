"""Items of CLAIM's 2024 update: number and short topic, and what no run can know of it, in our words.

Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology: Artificial
Intelligence 2024. The checklist itself, with the authors' wording, is to be had there.
"""

from typing import NamedTuple


class Item(NamedTuple):
    """One item.

    Attributes:
        number: Its number in the 2024 update.
        section: Part of the paper that it belongs to.
        topic: What it is about, in a few words.
        wanted: What only authors can say of it; empty where a run can say all.
    """

    number: int
    section: str
    topic: str
    wanted: str


ITEMS = (
    Item(1, "Title and abstract", "AI named in the title", "a title that names the kind of AI"),
    Item(2, "Title and abstract", "Structured summary", "the abstract"),
    Item(3, "Introduction", "Background and intended use", "the clinical question, and the role that the model is for"),
    Item(4, "Introduction", "Aims and hypotheses", "what was to be shown, fixed before the data were seen"),
    Item(5, "Methods: design", "Prospective or retrospective", "which of the two"),
    Item(6, "Methods: design", "Goal of the study", "feasibility, comparison, non-inferiority, or another"),
    Item(7, "Methods: data", "Data sources", "hospitals, dates, public sets with their versions and licences"),
    Item(
        8, "Methods: data", "Inclusion and exclusion", "the criteria, and how many cases they took away before the run"
    ),
    Item(9, "Methods: data", "Preprocessing", "what was done to the images before this program read them"),
    Item(10, "Methods: data", "Subsets of the data", "whether, why and how parts of the data were chosen"),
    Item(11, "Methods: data", "De-identification", "how the data were freed of names, and who checked it"),
    Item(12, "Methods: data", "Missing data", "why data are missing, and whether that is related to the disease"),
    Item(13, "Methods: data", "Image acquisition", "scanners, protocols, contrast agents, slice thickness"),
    Item(
        14, "Methods: reference standard", "What the reference standard is", "what the masks mark, and by what evidence"
    ),
    Item(15, "Methods: reference standard", "Why this reference standard", "the reasons, and its known errors"),
    Item(16, "Methods: reference standard", "Who annotated", "how many, their training, what they were shown"),
    Item(17, "Methods: reference standard", "Annotation of the test set", "tools, consensus, blinding to the model"),
    Item(
        18,
        "Methods: reference standard",
        "Agreement of annotators",
        "between them, and of each with himself or herself",
    ),
    Item(19, "Methods: partitions", "How data were assigned to partitions", "how, and by whom"),
    Item(20, "Methods: partitions", "Level at which partitions are disjoint", "that no patient is in two of them"),
    Item(21, "Methods: testing data", "Size of the sample", "why this many, and what could be shown with it"),
    Item(
        22, "Methods: model", "Description of the model", "what was changed against the published method, if anything"
    ),
    Item(23, "Methods: model", "Software", "hardware, and what else was in use"),
    Item(24, "Methods: model", "Initial values of parameters", "where the weights come from, with their licence"),
    Item(25, "Methods: training", "Training", "epochs, rates, augmentation, as configured for the checkpoint"),
    Item(26, "Methods: training", "Choice of the final model", "by what data; never by those reported here"),
    Item(27, "Methods: training", "Ensembles", "whether answers of several models were joined outside of this run"),
    Item(28, "Methods: evaluation", "Metrics", "why these, for the clinical question"),
    Item(29, "Methods: evaluation", "Significance and uncertainty", "which comparison was planned beforehand"),
    Item(30, "Methods: evaluation", "Robustness", "how answers change with scanners, noise, settings"),
    Item(31, "Methods: evaluation", "Explanations", "how the maps were judged, and by whom"),
    Item(32, "Methods: evaluation", "Internal data", "which of the sets are of the source of the training data"),
    Item(33, "Methods: evaluation", "External data", "which of the sets are of another source"),
    Item(34, "Methods: evaluation", "Trial registration", "number and register, or that there is none"),
    Item(35, "Results: data", "Cases included and excluded", "a flow diagram from the source to the cases found here"),
    Item(36, "Results: data", "Characteristics of the cases", "age, sex, disease and its severity, in each partition"),
    Item(37, "Results: model", "Performance with its uncertainty", "on every partition"),
    Item(38, "Results: model", "Diagnostic accuracy", "at the operating point that is meant for use"),
    Item(39, "Results: model", "Failures", "what wrong answers have in common, after looking at them"),
    Item(40, "Discussion", "Limitations", "bias, what the sample does not hold, what was not tested"),
    Item(41, "Discussion", "Implications for practice", "for whom, and for whom not"),
    Item(42, "Other information", "Study protocol", "where the full protocol is"),
    Item(43, "Other information", "Availability of software, model and data", "where the checkpoint and the data are"),
    Item(44, "Other information", "Funding", "who paid, and what they had to say in it"),
)
