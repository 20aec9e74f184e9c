// Cells and records of CSV that every spreadsheet takes for text; as in vlad/system/text.py.
const Csv = {
  // A path as a cell that is not a formula, and still names the same file.
  path: (text) => (/^[=+\-@\t\r\n＝＋－＠]/.test(text) ? "./" + text : text),

  // A text as a cell that is not a formula in any country.
  text: (text) => text.replace(/(?:^|(?<=[;\t\r\n]))(?=[=+\-@\t\r\n＝＋－＠])/g, "'"),

  // One record with its line end, quoted where it must be; null is an empty cell.
  line: (cells) => cells.map((cell) => {
    const text = cell === null || cell === undefined ? "" : String(cell);
    return /[,;"\t\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }).join(",") + "\n",

  // Hand a file to the browser as a download.
  download: (name, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },
};
